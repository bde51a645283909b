"""`archipel run`: open, watch, explain, pause, stop, export and verify runs."""

from typing import Any

import click

from archipel.cli.doors import LAB, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.run_curve import curve
from archipel.cli.run_export import export
from archipel.cli.run_fund import fund
from archipel.cli.run_look import show_, watch, why_stuck
from archipel.cli.run_open import open_
from archipel.cli.run_parts import parts
from archipel.cli.run_replay import replay
from archipel.cli.run_report import report
from archipel.cli.run_rollouts import rollouts
from archipel.cli.run_rule import pause, resume, retry, stop
from archipel.cli.run_verify import verify


@click.group(cls=Group)
def command() -> None:
    """Open, fund, watch, explain, pause, stop, export and verify runs."""


for each in (
    open_, fund, show_, watch, why_stuck, pause, resume, stop, retry, curve, export, parts, rollouts,
    report, verify, replay,
):  # fmt: skip
    command.add_command(each)


@command.command("list")
@LAB
@JSON
def list_(lab_url: str, as_json: bool) -> None:
    """All runs of a lab, those that go on first.

    \b
    Example:
      archipel run list --lab http://lab.example:8440
    """
    from archipel.cli.run_words import OVER

    runs = ask_lab(_all_runs(lab_url))
    runs.sort(key=lambda run: (run["phase"] in OVER, -run["opened_at_ms"]))
    show(runs, as_json, lambda: "\n".join(_run_line(run) for run in runs) or "no runs")


async def _all_runs(lab_url: str) -> list[dict[str, Any]]:
    from archipel.node.client import LabReader
    from archipel.node.histories import all_runs

    async with LabReader(lab_url) as lab:
        return [run.model_dump(mode="json") for run in await all_runs(lab)]


def _run_line(run: dict[str, Any]) -> str:
    from archipel.cli.run_words import PAUSED, version_words

    reward = "" if run["reward"] is None else f" reward {run['reward']:.3f}"
    version = version_words(run["version"], run["versions"])
    again = f"; resume with `archipel run resume {run['run']}`" if run["phase"] == PAUSED else ""
    return f"{run['run']:24} {run['phase']:10} version {version}{reward}{again}"
