"""`archipel run export`: a version as a model directory, or what every version measured, where other tools read it."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, Mendable, at_work, home_folder, mending
from archipel.cli.lab_door import EXPECT, JSON, ask_lab
from archipel.cli.names import run_names
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.run_sources import LabSource, LedgerSource, Shown
    from archipel.curves.exporters.shape import Exporter

MODEL = "model"
FILES = ("csv", "jsonl", "parquet")
FOLDERS = ("tensorboard", "wandb")
OF_MODELS = ("version", "merge", "base_name", "home")
OF_CURVES = ("follow", "every", "whole", "ledger", "expect", "as_json")
LAST_EXAM_S = 600.0
"""How long the evaluation of a complete run's last version is waited for."""
GIVEN = click.core.ParameterSource.COMMANDLINE


@click.command()
@click.argument("name", shell_complete=run_names)
@click.option(
    "--to",
    "form",
    default=MODEL,
    show_default=True,
    type=click.Choice([MODEL, *FOLDERS, *FILES]),
    help="A model directory, or the run's measurements in this form.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory to write (model, tensorboard, wandb), or file (csv, jsonl, parquet).",
)
@click.option("--version", type=int, help="Of the model [the newest].")
@click.option(
    "--merge",
    is_flag=True,
    help="Of an adapter's run: a whole model, the adapter merged with the run's first weights.",
)
@click.option(
    "--base-name",
    metavar="DIR|ORG/NAME",
    help="Of an adapter's run: where PEFT is to look for the model underneath [its loader is told].",
)
@click.option("--home", type=click.Path(path_type=Path), help="Cache [~/.archipel/export].")
@click.option("--follow", is_flag=True, help="Go on as the run does, until it is over.")
@click.option(
    "--every",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    help="Seconds between two looks.",
)
@click.option("--whole", is_flag=True, help="Versions that the lab lists no more, from its ledger.")
@click.option(
    "--ledger", metavar="PLACE", help="From a mirror or a copy, checked and folded here; no lab."
)
@EXPECT
@LAB
@JSON
@click.pass_context
def export(context: click.Context, /, name: str, form: str, out: Path, **given: Any) -> None:
    """A version as a model directory, or what every version measured in a form that other tools read.

    A version is fetched, verified and written as others load it: of an adapter's run an adapter's directory, as PEFT
    loads it, or with --merge a whole model. Measurements go on where the file ends: what it holds already is read
    from it, so that it may be ended and called again, and an evaluation that comes late is added.

    \b
    Examples:
      archipel run export secret-order --out trained
      archipel run export my-adapter --version 40 --out merged --merge
      archipel run export secret-order --to tensorboard --out logs --follow
      archipel run export secret-order --to parquet --out mine.parquet --ledger mirror
    """
    wrong = OF_CURVES if form == MODEL else OF_MODELS
    for option in wrong:
        if context.get_parameter_source(option) == GIVEN:
            flag = "--json" if option == "as_json" else f"--{option.replace('_', '-')}"
            raise click.UsageError(f"{flag} has no meaning with --to {form}")
    if given["ledger"] is not None and context.get_parameter_source("lab_url") == GIVEN:
        raise click.UsageError("give one of --lab and --ledger")
    if form == MODEL:
        _export_model(name, out, given)
    else:
        _export_curves(name, form, out, given)


def _export_model(name: str, out: Path, given: dict[str, Any]) -> None:
    from archipel.blobs import BlobStore
    from archipel.model.new_directory import require_free
    from archipel.node.operator import fetch_version
    from archipel.work.export import ExportFailed, write_version

    folder, merge = home_folder("export", given["home"]), given["merge"]
    with mending(ExportFailed, OSError, ValueError):
        require_free(out)
        store, support = BlobStore(folder / "blobs"), folder / "models" / name
        at_work("fetching")
        fetched = fetch_version(
            given["lab_url"], store, name, given["version"], support, weights=merge
        )
        links = ask_lab(fetched)
        at_work(f"computing {out}")
        digest = write_version(links, support, out, merge=merge, base_name=given["base_name"])
    click.echo(f"{out}: weights {digest}")


def exporters() -> "dict[str, Callable[[Path, str], Exporter]]":
    """Form -> who opens a place of it for a run."""
    from archipel.curves.exporters.event_files import EventFile
    from archipel.curves.exporters.lines import JsonLines
    from archipel.curves.exporters.tables import csv_table, parquet_table
    from archipel.curves.exporters.weights_and_biases import WandbRun

    return {
        "tensorboard": EventFile,
        "wandb": WandbRun,
        "csv": csv_table,
        "jsonl": JsonLines,
        "parquet": parquet_table,
    }


def _export_curves(name: str, form: str, out: Path, given: dict[str, Any]) -> None:
    from archipel.cli.run_sources import run_source
    from archipel.curves.exporters.shape import CannotExport

    places = given["lab_url"], given["ledger"], given["expect"]
    with (
        run_source(*places, name, given["whole"]) as source,
        mending(CannotExport, OSError, ValueError),
    ):
        first = _first(source)
        exporter = exporters()[form](out, name)
        told: dict[str, Any] = {
            "run": name,
            "to": form,
            "out": str(out),
            "versions": 0,
            "evaluations": 0,
        }
        try:
            _take(exporter, first, told)
            if given["follow"] and not (first.is_over and not _awaits_exam(first)):
                _follow(source, exporter, told, given["every"])
        except KeyboardInterrupt:
            click.echo("stopped; the same command goes on from here", err=True)
        finally:
            exporter.close()
    words = (
        f"{out}: {counted(told['versions'], 'version')} and {counted(told['evaluations'], 'evaluation')} "
        "written"
    )
    click.echo(json.dumps(told) if given["as_json"] else words)


def _first(source: "LabSource | LedgerSource") -> "Shown":
    shown = source.look()
    if shown is None:
        raise Mendable(source.trouble)
    return shown


def _take(exporter: "Exporter", shown: "Shown", told: dict[str, Any]) -> int:
    """Write what is new; counted in `told`."""
    from archipel.curves.exporters.shape import unheld

    new = unheld(shown.history, exporter.held())
    if new.points or new.exams:
        exporter.add(new)
    told["versions"] += len(new.points)
    told["evaluations"] += len(new.exams)
    return len(new.points) + len(new.exams)


def _awaits_exam(shown: "Shown") -> bool:
    """Whether the last version of a run that evaluates is not evaluated yet: that comes after the run's end."""
    exams, last = shown.history.exams, shown.history.versions
    return bool(exams) and shown.version == last and max(each.version for each in exams) < last


def _follow(
    source: "LabSource | LedgerSource", exporter: "Exporter", told: dict[str, Any], every_s: float
) -> None:
    """Until the run is over and its last version evaluated; what it is waiting for is said once."""
    is_told, over_s = False, None
    while True:
        begun = time.monotonic()
        shown = source.look()
        if shown is not None:
            is_told = False
            if _take(exporter, shown, told) and sys.stderr.isatty():
                click.echo(
                    f"\rversion {shown.version} of {shown.history.versions} ", err=True, nl=False
                )
            if shown.is_over and not _awaits_exam(shown):
                return
            if shown.is_over and over_s is None:
                over_s = begun
                click.echo("the run is over; its last version is being evaluated", err=True)
        elif source.trouble and not is_told:
            is_told = True
            click.echo(f"{source.trouble}; trying again", err=True)
        if over_s is not None and begun - over_s > LAST_EXAM_S:
            click.echo("that evaluation has not come; the same command adds it later", err=True)
            return
        # A ledger that takes long to fold is not folded all the time.
        time.sleep(max(every_s, time.monotonic() - begun))
