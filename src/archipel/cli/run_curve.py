"""`archipel run curve`: what every version measured, as a plot, a picture, a table or event files."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import LAB, Mendable, mending
from archipel.cli.lab_door import ask_lab
from archipel.cli.names import run_names

if TYPE_CHECKING:
    from archipel.curves.history import History

DEFAULT_METRICS = ("reward", "eval_greedy", "entropy", "mismatch_kl")
DEFAULT_OF_TEXT = ("eval_loss", "loss")
"""Of runs that have none of the others."""
PLOT_HEIGHT, MAX_WIDTH = 10, 100
COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue")
FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=run_names)
@click.option("--metric", "metrics", multiple=True, metavar="METRIC", help="Which [a few]; 'all'.")
@click.option("--list", "is_list", is_flag=True, help="Only name the metrics there are.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw a picture.")
@click.option("--csv", type=FILE, help="Write a table, a row a version; - for standard output.")
@click.option("--jsonl", type=FILE, help="The same as a JSON object a line.")
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write DIR/NAME/events.out.tfevents..., anew each time.",
)
@click.option("--whole", is_flag=True, help="Versions that the lab lists no more, from its ledger.")
@LAB
def curve(
    names: tuple[str, ...],
    metrics: tuple[str, ...],
    is_list: bool,
    png: Path | None,
    csv: Path | None,
    jsonl: Path | None,
    tensorboard: Path | None,
    whole: bool,
    lab_url: str,
) -> None:
    """Every measurement of one or more runs by version: here, as a picture, as data.

    Without an option it is drawn in the terminal. Files hold all metrics unless --metric names some.

    \b
    Examples:
      archipel run curve secret-order
      archipel run curve first second --metric reward --png both.png
      archipel run curve secret-order --csv - | head
      archipel run curve secret-order --tensorboard logs     then: tensorboard --logdir logs
    """
    histories = ask_lab(_histories(lab_url, names, whole))
    there = list(dict.fromkeys(name for each in histories for name in each.names()))
    if is_list:
        click.echo("\n".join(there))
        return
    asked = _chosen(metrics, there)
    with mending(OSError, ValueError):
        written = _write(histories, asked, (csv, jsonl, png, tensorboard))
    if not written:
        _draw(histories, asked or _defaults(there))
    for path in written:
        if str(path) != "-":
            click.echo(str(path), err=True)


def _defaults(there: Sequence[str]) -> list[str]:
    """What is drawn when nobody said what; runs of text have no reward."""
    found = [name for name in DEFAULT_METRICS if name in there]
    return found or [name for name in DEFAULT_OF_TEXT if name in there]


def _chosen(metrics: Sequence[str], there: list[str]) -> list[str]:
    """The metrics asked for by name; none when it was not said."""
    import difflib

    if "all" in metrics:
        return there
    for name in metrics:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
            raise Mendable(f"no version measured {name!r}; {hint}")
    return list(dict.fromkeys(metrics))


def _write(
    histories: "Sequence[History]", asked: list[str], paths: tuple[Path | None, ...]
) -> list[Path]:
    """Every file that was asked for."""
    from archipel.curves.event_file import event_file
    from archipel.curves.picture import draw
    from archipel.curves.tables import rows, to_csv, to_json_lines

    csv, jsonl, png, tensorboard = paths
    written = []
    for path, form in ((csv, to_csv), (jsonl, to_json_lines)):
        if path is not None:
            with click.open_file(str(path), "w", encoding="utf-8", atomic=str(path) != "-") as file:
                file.write(form(rows(histories, asked)))
            written.append(path)
    if png is not None:
        there = dict.fromkeys(name for each in histories for name in each.names())
        bounds = ("_low", "_high")
        draw(histories, asked or [name for name in there if not name.endswith(bounds)], png)
        written.append(png)
    for history in histories if tensorboard is not None else ():
        written.append(_write_events(tensorboard / history.run, event_file(history)))  # type: ignore[operator]  # not None here
    return written


def _write_events(folder: Path, data: bytes) -> Path:
    """One file a run, written aside and renamed, so that a reader never finds half of it."""
    from archipel.curves.exporters.event_files import FILE_NAME

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    aside = folder / ".partial"
    aside.write_bytes(data)
    aside.replace(path)
    return path


def _draw(histories: "Sequence[History]", names: Sequence[str]) -> None:
    """In the terminal, a plot a metric; the runs' letters and last values in its title."""
    from archipel.curves.concerns import concerns
    from archipel.curves.plot import Canvas, Line, letter, plot

    if not names:
        raise Mendable("no version has measured anything yet; `archipel run why-stuck` says why")
    size = shutil.get_terminal_size()
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    canvas = Canvas(min(size.columns, MAX_WIDTH), PLOT_HEIGHT, plain)
    for name in names:
        lines = [Line(each.run, each.series(name)) for each in histories]
        told = []
        for number, line in enumerate(lines):
            sign = f"{letter(number)} " if len(lines) > 1 else ""
            last = f"{line.points[-1][1]:.4g}" if line.points else "not measured"
            told.append(
                click.style(f"{sign}{line.label} {last}", fg=COLOURS[number % len(COLOURS)])
            )
        click.echo(f"{click.style(name, bold=True)}  {'  '.join(told)}")
        if any(line.points for line in lines):
            for row in plot(lines, canvas):
                click.echo(_coloured(row))
    for history in histories:
        for concern in concerns(history):
            click.secho(
                f"{history.run}: warning, {concern.kind}: {concern.text}", fg="yellow", bold=True
            )


def _coloured(row: "Sequence[tuple[str, int | None]]") -> str:
    """Neighbours of one series in one colour change."""
    import itertools

    parts = []
    for owner, cells in itertools.groupby(row, key=lambda cell: cell[1]):
        text = "".join(sign for sign, _ in cells)
        colour = None if owner is None else COLOURS[owner % len(COLOURS)]
        parts.append(text if colour is None else click.style(text, fg=colour))
    return "".join(parts).rstrip()


async def _histories(lab_url: str, names: Sequence[str], whole: bool) -> "list[History]":
    """The runs' histories; older versions from the ledger where that is asked."""
    from archipel.cli.run_ledger import with_older
    from archipel.node.client import LabReader
    from archipel.node.histories import RunReader
    from archipel.records.documents import RunView

    found = []
    async with LabReader(lab_url) as lab:
        for name in dict.fromkeys(names):
            reader, view = RunReader(lab, name), await lab.read(RunView, f"/runs/{name}")
            history = await reader.history(view)
            first = history.points[0].version if history.points else 0
            if first and whole:
                history = await with_older(lab, await reader.opening(), history)
            elif first:
                click.echo(
                    f"{name}: versions before {first} are listed no more (run.keep_versions); --whole "
                    "reads them from the ledger",
                    err=True,
                )
            found.append(history)
    return found
