"""The bench of tenants compares the same work, says what did not fit, and finds company that changes a tenant."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from archipel.bench import door
from archipel.bench.door import Case, Plan, check_bits, check_losses
from archipel.bench.door_http import Overhead, Passed, forward_backward
from archipel.bench.door_report import ratios, table
from archipel.bench.door_side import Process, SideFailed
from archipel.bench.door_work import (
    OURS,
    PLAIN,
    Step,
    Work,
    config_of,
    data_of,
    form_of,
    side_of,
)
from archipel.cli.bench_door import command
from archipel.cli.doors import child_environment
from archipel.door.wire import training
from archipel.records.adapter import TARGETS

WORK = Work(OURS, "tiny", 4, 0, 1, 2, 1)


def case(tenants: int, length: int = 32, **fields: Any) -> Case:
    made = Case(tenants, length, tenants * length, tenants)
    made.ours_wall_s, made.ours_cpu_s = [1.0, 2.0], [1.0, 2.0]
    made.separate_wall_s, made.separate_cpu_s = [3.0, 6.0], [2.0, 4.0]
    made.ours_peak, made.separate_peak, made.separate_pss = 10**9 * tenants, 10**9, 5 * 10**8
    return replace(made, separate=tenants, **fields)


def test_company_and_plain_torch_do_the_same_work_and_company_changes_no_bit() -> None:
    torch.set_num_threads(1)
    alone, company = side_of(WORK), side_of(replace(WORK, tenants=3))
    plain = side_of(replace(WORK, way=PLAIN))
    for number in range(2):
        step = Step(number, 8)
        losses = [each.step(step) for each in (alone, company, plain)]
        assert losses[0] == losses[1]
        check_losses(losses)
        assert alone.digest() == company.digest()
    with pytest.raises(ValueError, match="a process for each"):
        side_of(replace(WORK, way=PLAIN, tenants=2))


def test_every_step_of_every_tenant_has_tokens_of_its_own_that_come_again() -> None:
    drawn = {
        (tenant, number): data_of(WORK, tenant, Step(number, 8))
        for tenant in range(2)
        for number in range(2)
    }
    rows = {each[0].tokens_T.tobytes() for each in drawn.values()}
    assert len(rows) == len(drawn)
    again = data_of(WORK, 1, Step(1, 8))
    assert [each.tokens_T.tolist() for each in again] == [
        each.tokens_T.tolist() for each in drawn[1, 1]
    ]
    assert all((each.tokens_T[1:] == each.inputs["target_tokens"][:-1]).all() for each in again)
    assert config_of("100m").vocab_size == 32000
    assert form_of(16).targets == TARGETS


def test_what_differs_between_sides_or_in_company_is_found() -> None:
    check_losses([1.0, 1.0 + 1e-6])
    with pytest.raises(SideFailed, match="different work"):
        check_losses([1.0, 1.01])
    check_bits([case(1, digest="a"), case(8, digest="a"), case(1, 256, digest="b")])
    with pytest.raises(SideFailed, match="differ with company at 32"):
        check_bits([case(1, digest="a"), case(8, digest="b")])


def test_the_door_reads_what_the_client_of_the_bench_writes() -> None:
    data = data_of(WORK, 0, Step(0, 8))
    asked = training.read_message(forward_backward("m", 3, data))
    assert (asked.model, asked.seq_id, asked.operation.loss) == ("m", 3, "cross_entropy")
    for sent, read in zip(data, asked.operation.data, strict=True):
        assert np.array_equal(sent.tokens_T, read.tokens_T)
        assert sent.inputs.keys() == read.inputs.keys()
        assert all(np.array_equal(sent.inputs[name], read.inputs[name]) for name in sent.inputs)


def test_the_table_has_ratios_within_rounds_and_says_what_was_run_in_turns() -> None:
    passed = Passed(8, 32, 32, [1.1, 2.2], [1.2, 2.4], [1.0, 2.0], [1.0, 2.0], [9, 8], [4, 4])
    found = {
        "plan": asdict(Plan()),
        "at_once": 5,
        "cases": [asdict(case(1)), asdict(case(8))],
        "http": [asdict(passed)],
    }
    said = table(found)
    assert ratios(found["cases"][1], "separate_wall_s", "ours_wall_s").mean == pytest.approx(3.0)
    for part in (
        "3.00 [3.00, 3.00]  2.00 [2.00, 2.00]",
        "8.00 times ours, 8.00 times a process; 1000 MB a tenant",
        "5 processes fitted into memory at once",
        "one tenant, processor time: 0.50 [0.50, 0.50] at 32 tokens",
        "8 tenants, 32 tokens: 1.10 [1.10, 1.10] x the time, 1.20 [1.20, 1.20]",
        "17 passes for 8",
    ):
        assert part in said, said
    whole = table({**found, "at_once": 8})
    assert "fitted" not in whole
    assert "nothing was measured yet" in table({**found, "cases": [], "http": []})
    stopped = asdict(case(8)) | {"separate": 5}
    said = table({**found, "cases": [asdict(case(1)), stopped]})
    assert "not measured to the end: 1 of 2 cases" in said
    assert "times ours" not in said
    one = table({**found, "cases": [asdict(case(1, ours_wall_s=[1.0], ours_cpu_s=[1.0]))]})
    assert "3.00 (one round)" in one


def test_a_process_that_cannot_do_its_work_says_why(tmp_path: Path) -> None:
    process = Process(door.SIDE, {}, tmp_path / "log", {})
    with pytest.raises(SideFailed, match="not started"):
        process.tell(steps=1)


@pytest.mark.slow
def test_a_whole_measurement_of_a_tiny_base_has_both_sides_and_the_door() -> None:
    options = ["--quick", "--rounds", "1", "--tenants", "1", "--tenants", "2", "--json"]
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(each["tenants"], each["length"]) for each in found["cases"]] == [
        (1, 8), (2, 8), (1, 32), (2, 32),
    ]  # fmt: skip
    for each in found["cases"]:
        times = (*each["ours_wall_s"], *each["separate_wall_s"], *each["separate_cpu_s"])
        assert len(times) == 3
        assert all(math.isfinite(took) and took > 0 for took in times)
        assert each["ours_peak"] > 0 < each["separate_pss"]
    assert found["http"][0]["http_wall_s"]


@pytest.mark.slow
def test_processes_that_do_not_fit_at_once_are_run_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "free_bytes", lambda: door.SPARED_BYTES)  # room for the first alone
    plan = replace(door.QUICK, tenants=(1, 3), lengths=(8,), rounds=1, http=Overhead(tenants=()))
    found: dict[str, Any] = {}
    door.measure(plan, child_environment(), lambda text: None, found)
    assert found["at_once"] == 1
    (one, three) = found["cases"]
    assert [len(one["separate_wall_s"]), len(three["separate_wall_s"])] == [1, 1]
    assert [one["separate"], three["separate"]] == [1, 3]
    assert three["separate_cpu_s"][0] > one["separate_cpu_s"][0]
    assert "1 processes fitted" in table(found)
