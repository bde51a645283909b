"""The lab benchmark presses a real lab, loses nothing, and says what it saw."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.bench import lab_report
from archipel.bench.lab import Measured
from archipel.bench.lab_cost import measure_costs, measure_flow, measure_restarts
from archipel.bench.lab_crowds import LoadPlan, Lost, check_counted
from archipel.bench.lab_load import Load, measure_load
from archipel.cli.bench_lab import command
from archipel.cli.doors import child_environment
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.lab.recovery import replay
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from archipel.records.statements import WorkAnswered

NODES = 20
PLAN = replace(
    LoadPlan(), idle_s=0.5, warm_s=1.0, measured_s=2.0, entries_per_s=40, wait_s=2.0, work_s=0.2
)


@pytest.fixture(scope="module")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Load]:
    folder = tmp_path_factory.mktemp("pressed")
    return folder, measure_load(NODES, PLAN, folder, child_environment())


def entries(home: Path) -> tuple[str, list[bytes]]:
    did = Identity.load(home / "lab.key").did
    log = read_log(home / "ledger.sqlite", lab_key(did), home / "ledger.head")
    try:
        return did, list(log.entries())
    finally:
        log.close()


@pytest.mark.slow
def test_nobody_is_refused_and_every_answer_that_was_counted_is_in_the_ledger(
    pressed: tuple[Path, Load],
) -> None:
    folder, load = pressed
    assert load.faults == {}
    assert load.counted >= len(load.records) > 0
    said = [read_entry(data).statement for data in entries(folder / "lab")[1]]
    answers = [each for each in said if isinstance(each, WorkAnswered)]
    assert sum(each.answer.kind == "rollout" for each in answers) >= load.counted
    assert len(load.joins) == NODES
    assert load.grants
    assert all(load.pages.values())


@pytest.mark.slow
def test_the_pressed_lab_s_ledger_replays_with_every_signature(
    pressed: tuple[Path, Load],
) -> None:
    did, data = entries(pressed[0] / "lab")
    state = replay(did, data)
    assert state.size == len(data)
    assert len(state.nodes) == NODES + 1
    assert sum(state.book.values()) == 0


@pytest.mark.slow
def test_a_receipt_for_what_the_ledger_does_not_hold_is_an_error_not_a_figure(
    pressed: tuple[Path, Load],
) -> None:
    home = pressed[0] / "lab"
    size = len(entries(home)[1])
    with pytest.raises(Lost):
        check_counted(home, [size])
    with pytest.raises(Lost):
        check_counted(home, [0])
    with pytest.raises(Lost):
        check_counted(home, [size - 1, size - 1])


@pytest.mark.slow
def test_a_history_made_in_process_is_one_that_a_real_lab_starts_from(tmp_path: Path) -> None:
    (found,) = measure_restarts((200,), tmp_path, child_environment())
    assert found.entries == 200
    did, data = entries(tmp_path / "lab")
    assert replay(did, data).size == len(data) >= 200


@pytest.mark.slow
def test_every_figure_has_its_place_in_table_json_and_picture(
    pressed: tuple[Path, Load], tmp_path: Path
) -> None:
    flow = measure_flow(50, tmp_path)
    costs = [measure_costs(nodes) for nodes in (10, 30)]
    measured = Measured([pressed[1]], [], flow, costs)
    values = json.loads(json.dumps(lab_report.to_json(measured)))
    assert values["loads"][0]["nodes"] == NODES
    assert values["flow"]["statements"] == 50
    assert set(values["costs_us"]["10"]) == set(costs[0].us)
    shown = lab_report.table(measured)
    assert all(name in shown for name in costs[0].us)
    lab_report.draw(measured, tmp_path / "lab.png")
    assert (tmp_path / "lab.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_command_measures_the_part_that_was_asked_for() -> None:
    done = CliRunner().invoke(command, ["--quick", "--part", "flow", "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["loads"] == values["restarts"] == []
    assert values["flow"]["statements"] > 0
