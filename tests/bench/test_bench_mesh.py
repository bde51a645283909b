"""The mesh benchmark: versions reach every node, from the lab alone or passed on, and the lab sends less."""

import json

import pytest
from click.testing import CliRunner

from archipel.bench.mesh import ARMS, SENT, Plan, Spreading, Trial, measure, table, to_json
from archipel.cli.bench_mesh import ARM_NAMES, command
from archipel.cli.doors import child_environment


def test_arms_are_those_of_the_command_and_say_who_serves() -> None:
    assert tuple(arm.name for arm in ARMS) == ARM_NAMES
    for arm in ARMS:
        for nodes in (1, 4, 16):
            assert arm.liars(nodes) <= arm.serving(nodes) <= nodes


def test_the_labs_bytes_are_read_from_its_metrics() -> None:
    line = 'archipel_response_body_bytes_total{method="GET",route="/blobs/{digest}"} 4.2e+06'
    found = SENT.search(f"# HELP x\n{line}\n")
    assert found is not None
    assert float(found[1]) == 4.2e6


def test_a_row_has_its_interval_and_its_share() -> None:
    trials = [Trial(2.0, 1.5, 0.75), Trial(2.2, 1.6, 0.75)]
    found = [Spreading("tree", 4, trials, 1.0, "tree (...)", 1.4, 0)]
    assert "2.100 [" in table(found)
    assert "75%" in table(found)
    assert json.loads(json.dumps(to_json(found)))[0]["trials"][0]["tail_s"] == 2.0
    assert CliRunner().invoke(command, ["--nodes", "0"]).exit_code == 2


@pytest.mark.slow
def test_versions_passed_on_spare_the_labs_line() -> None:
    plan = Plan(nodes=(4,), blob_mb=2.0, versions=2)
    star, tree = measure(plan, ("star", "tree"), child_environment())
    assert star.lab_blobs == pytest.approx(4.0, rel=0.01)
    assert tree.lab_blobs < 3.0
    assert all(trial.of_peers > 0.25 for trial in tree.trials)
    assert star.faults == tree.faults == 0
