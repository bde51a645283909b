"""`archipel simulate`: what it prints, for people and machines, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.cli.doors import Mendable

SHORT = (
    "--hours",
    "0.02",
    "--providers",
    "12",
    "--set",
    "learning.step_s=20.0",
    "--set",
    "learning.groups=4",
)


def run(*words: str) -> Result:
    return CliRunner().invoke(command, ["simulate", *words])


def test_a_run_is_shown_with_the_figures_that_it_rests_on() -> None:
    shown = run("small", *SHORT, "--set", "learning.tokens=500", "--json")
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert told["whole"]
    assert {"cost_reduction", "utilisation", "gini_paid"} <= set(told["figures"])
    assert {each["kind"] for each in told["inputs"]} >= {"assumed", "published"}
    assert any(row["why_not"] == "" for row in told["kinds"])


def test_a_version_to_many_nodes_is_a_table_of_every_shape() -> None:
    shown = run("fan-out")
    assert shown.exit_code == 0, shown.output
    assert "star s" in shown.stdout
    assert "16,384" in shown.stdout


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("nothing",), "no scenario nothing; expected one of small"),
        (("small", "--set", "crowd.cheats=2.0"), "share of cheats: got 2, expected 0 to 1"),
        (("small", "--constant", "rental.h1=3"), "unknown constant"),
        (("--run", "demo"), "--run names a run of --like"),
    ],
)
def test_what_means_nothing_is_refused_in_a_sentence(words: tuple[str, ...], fault: str) -> None:
    shown = run(*words)
    assert isinstance(shown.exception, Mendable | SystemExit)
    assert fault in f"{shown.output} {shown.exception}"


def test_a_folder_without_a_ledger_is_refused(tmp_path: Path) -> None:
    shown = run("--like", str(tmp_path))
    assert isinstance(shown.exception, Mendable)
