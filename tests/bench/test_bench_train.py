"""The benchmark of updates: every arm learns the same from the same rollouts, and what is missing says why."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from archipel.bench import train, train_ours, train_plain
from archipel.bench.train import OURS, PLAIN, TRL, Tools, TrainArm, TrainPlan
from archipel.bench.train_job import (
    Outcome,
    TrainJob,
    Watch,
    config_of,
    groups_of,
    read_job,
    read_outcome,
    write_outcome,
)
from archipel.bench.train_report import rows_of, table, to_json
from archipel.cli.archipel import command
from archipel.model.hollow import hollow

torch.set_num_threads(1)
MEGABYTES = 48
JOB = TrainJob(OURS, "1m", "uneven", "float32", "cpu", 1, 0, 2, 1, 2, 256, "")


@pytest.fixture(scope="module")
def arms() -> list[TrainArm]:
    ours = train_ours.train(JOB)
    plain = train_plain.train(replace(JOB, arm=PLAIN))
    return [
        TrainArm(JOB, ours, "", 0.5),
        TrainArm(replace(JOB, arm=PLAIN), plain, "", 0.5),
        TrainArm(replace(JOB, arm=TRL), None, "TRL is not installed", 0.5),
    ]


def test_both_arms_learn_the_same_from_the_same(arms: list[TrainArm]) -> None:
    ours, plain = (arm.outcome for arm in arms[:2])
    assert ours is not None
    assert plain is not None
    assert ours.tokens == plain.tokens
    assert ours.losses == pytest.approx(plain.losses, rel=1e-3, abs=1e-5)
    assert ours.losses[0] != ours.losses[1]
    assert ours.grad_norms == pytest.approx(plain.grad_norms, rel=1e-3)
    assert len(ours.version_cpu_s) == len(ours.seconds) == JOB.updates


def test_the_peak_of_memory_is_counted_from_the_beginning_on() -> None:
    bytearray(MEGABYTES * 2**20 * 4)  # before: held, and given back
    watch = Watch("cpu")
    if not watch.counts_from_here:
        pytest.skip("this kernel begins no process's peak anew")
    held = bytearray(os.urandom(2**20)) * MEGABYTES
    assert len(held) == MEGABYTES * 2**20
    del held
    assert (MEGABYTES - 8) * 2**20 < watch.peak_bytes() < (2 * MEGABYTES) * 2**20


def test_thrift_changes_the_loss_by_nothing_that_one_sees(arms: list[TrainArm]) -> None:
    thrifty = train_ours.train(replace(JOB, arm="ours, all three"))
    assert arms[0].outcome is not None
    assert thrifty.losses == pytest.approx(arms[0].outcome.losses, rel=1e-2, abs=1e-4)
    assert set(train.THRIFTY) | {OURS} == set(train_ours.ARMS)


def test_rows_pair_seeds_and_say_what_is_missing(arms: list[TrainArm]) -> None:
    ours, plain, missing = rows_of(arms)
    assert ours["ours_over_it"] is None
    assert plain["ours_over_it"].mean == arms[0].tokens_per_s / arms[1].tokens_per_s
    assert plain["loss_apart"] < 1e-4
    assert missing["tokens_per_s"] is None
    assert "TRL is not installed" in table(arms)
    assert [each["arm"] for each in to_json(arms)["rows"]] == [OURS, PLAIN, TRL]


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path, arms: list[TrainArm]) -> None:
    outcome = arms[0].outcome
    assert isinstance(outcome, Outcome)
    write_outcome(replace(JOB, out=str(tmp_path)), outcome)
    assert read_outcome(tmp_path) == outcome


def test_an_arm_that_cannot_run_is_a_row_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(TrainPlan(), sizes=("1m",), lengths=("even",), seeds=(0, 1), arms=(OURS, TRL))
    order: list[tuple[int, str]] = []
    monkeypatch.setattr(train, "_ended", lambda *_: "ended with code 1")
    found = train.measure(
        plan, tmp_path, Tools(Path("none"), None, {}), lambda arm: order.append((arm.job.seed, arm.job.arm))
    )  # fmt: skip
    assert order == [(0, OURS), (0, TRL), (1, TRL), (1, OURS)]
    assert [bool(arm.missing) for arm in found] == [True] * 4


PLANNED = ["bench", "train", "--size", "1m", "--lengths", "even", "--seeds", "2", "--updates", "2"]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """It is heard here, also where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_measurement_that_is_stopped_prints_what_it_has_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    outcome = Outcome("torch", (1.0, 0.5), (1.0, 0.5), (10, 10), (0.5, 0.25), (), 1000)
    ran: list[str] = []

    def ended(command: list[str], *_: object) -> str:
        job = read_job(Path(command[-1]))
        ran.append(f"{job.arm} {job.seed}")
        if len(ran) == 3:
            os.kill(os.getpid(), ending)
        write_outcome(job, outcome)
        return ""

    monkeypatch.setattr(train, "_ended", ended)
    plan = [*PLANNED, "--arm", OURS, "--arm", PLAIN, "--out", str(tmp_path)]
    stopped = CliRunner().invoke(command, [*plan, "--json"])
    assert stopped.exit_code == (128 + signal.SIGTERM if ending == signal.SIGTERM else 1)
    assert f"stopped; the same command with --out {tmp_path} goes on" in stopped.stderr
    assert [arm["job"]["seed"] for arm in json.loads(stopped.stdout)["arms"]] == [0, 0]
    whole = CliRunner().invoke(command, plan)
    assert ran == [f"{OURS} 0", f"{PLAIN} 0", f"{PLAIN} 1", f"{PLAIN} 1", f"{OURS} 1"]
    assert "losses within 0.0e+00" in whole.stdout
    assert CliRunner().invoke(command, plan).stdout == whole.stdout
    assert len(ran) == 5, "everything was kept"


def test_an_arm_that_could_not_run_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    monkeypatch.setattr(train, "_ended", lambda *_: tries.append(1) or "ended with code 1")
    plan = replace(TrainPlan(), sizes=("1m",), lengths=("even",), seeds=(0,), arms=(OURS,))
    for _ in range(2):
        train.measure(plan, tmp_path, Tools(Path("none"), None, {}), lambda arm: None)
    assert len(tries) == 2


@pytest.mark.parametrize(("size", "millions"), [("30m", 28), ("100m", 98), ("350m", 337)])
def test_sizes_are_about_what_they_are_called(size: str, millions: int) -> None:
    weights = sum(each.numel() for each in hollow(config_of(replace(JOB, size=size))).parameters())
    assert weights / 1e6 == pytest.approx(millions, rel=0.05)


def test_data_follow_from_seed_and_update_alone() -> None:
    assert groups_of(JOB, 1) == groups_of(replace(JOB, arm=PLAIN, dtype="bfloat16"), 1)
    assert groups_of(JOB, 1) != groups_of(replace(JOB, seed=1), 1)
    for rollout in groups_of(replace(JOB, lengths="even"), 0)[0].rollouts:
        assert len(rollout.tokens) == 241
