"""`archipel run show`, `watch` and `why-stuck`: how runs stand, and what is wrong with them."""

import sys
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount
from archipel.cli.doors import LAB, show, until_ctrl_c
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names

if TYPE_CHECKING:
    from archipel.cli.watching import Scene


@click.command("show")
@click.argument("name", shell_complete=run_names)
@click.option(
    "--rate", "rate_micro", type=Amount(), metavar="USD", help="Dollars for a credit: the cost in dollars as well."
)  # fmt: skip
@LAB
@JSON
def show_(name: str, rate_micro: int | None, lab_url: str, as_json: bool) -> None:
    """Where one run stands: progress, scores with their intervals, the newest measurements, warnings.

    \b
    Examples:
      archipel run show secret-order
      archipel run show secret-order --rate 0.02
      archipel run show secret-order --json
    """
    from archipel.cli.run_page import for_machines, page

    scene = ask_lab(_scene(lab_url, name))
    (run,) = scene.runs
    history = scene.histories[name]
    told = for_machines(run, history, scene.waits) if as_json else None
    show(told, as_json, lambda: page(run, history, scene.waits, rate_micro))


@click.command()
@click.argument("name", required=False, shell_complete=run_names)
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.1, 60),
    help="Seconds between two looks.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON object for each version, a line each."
)
@LAB
def watch(name: str | None, every: float, as_json: bool, lab_url: str) -> None:
    """Live view: versions, rewards, evaluations, warnings, nodes. Ctrl-C ends it.

    In a file or a pipe it is a line for each version, evaluation, warning and change of who works, as they come.

    \b
    Examples:
      archipel run watch
      archipel run watch secret-order --lab http://lab.example:8440
      archipel run watch secret-order >> log.txt
      archipel run watch --json | jq 'select(.event == "warning")'
    """
    if as_json or not sys.stdout.isatty():
        from archipel.cli.following import follow_runs

        with until_ctrl_c():
            ask_lab(follow_runs(lab_url, name, every, as_json))
        return
    from archipel.cli.watching import watch_runs

    with until_ctrl_c():
        ask_lab(watch_runs(lab_url, name, every))


@click.command("why-stuck")
@LAB
@JSON
def why_stuck(lab_url: str, as_json: bool) -> None:
    """Which wait is blocking each run, who owns it, and until when; and what goes wrong in it.

    \b
    Example:
      archipel run why-stuck
    """
    scene = ask_lab(_scene(lab_url, None))
    waits = [
        {**wait.model_dump(mode="json"), "warnings": _warned(scene, wait.run)}
        for wait in scene.waits
    ]

    def text() -> str:
        lines: list[str] = []
        for wait in waits:
            left = "" if wait["left_s"] is None else f", {wait['left_s']:.0f} s to its deadline"
            lines.append(f"{wait['run']}: {wait['waiting_for']}")
            lines.append(f"    owner: {wait['owner']}{left}; {wait['advice']}")
        lines += [
            f"{run}: warning: {text}" for run in scene.histories for text in _warned(scene, run)
        ]
        nothing = "every run is finished" if scene.runs else "no run was opened yet"
        return "\n".join(lines) or f"nothing is waiting: {nothing}"

    show(waits, as_json, text)


def _warned(scene: "Scene", run: str) -> list[str]:
    return [f"{concern.kind}: {concern.text}" for concern in scene.warnings(run)]


async def _scene(lab_url: str, name: str | None) -> Any:
    from archipel.cli.watching import NEWEST_VERSIONS, Watcher
    from archipel.node.client import LabReader

    async with LabReader(lab_url) as lab:
        return await Watcher(lab, name, None if name else NEWEST_VERSIONS).look()
