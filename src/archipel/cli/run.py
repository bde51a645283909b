"""`archipel run`: open, watch, explain, pause, stop, export and verify runs."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import LAB, at_work, home_folder, mending, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names
from archipel.cli.run_curve import curve
from archipel.cli.run_fund import fund
from archipel.cli.run_look import show_, watch, why_stuck
from archipel.cli.run_open import open_
from archipel.cli.run_replay import replay
from archipel.cli.run_rollouts import rollouts
from archipel.cli.run_rule import pause, resume, retry, stop
from archipel.cli.run_verify import verify


@click.group(cls=Group)
def command() -> None:
    """Open, fund, watch, explain, pause, stop, export and verify runs."""


for each in (
    open_, fund, show_, watch, why_stuck, pause, resume, stop, retry, curve, rollouts, verify,
    replay,
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


@command.command()
@click.argument("name", shell_complete=run_names)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option("--version", type=int, help="[the newest]")
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
@LAB
def export(
    name: str,
    out: Path,
    version: int | None,
    merge: bool,
    base_name: str | None,
    home: Path | None,
    lab_url: str,
) -> None:
    """Fetch a policy version, verify it, and write a model directory that others can load.

    A version of an adapter's run becomes an adapter's directory, as PEFT loads it, or with --merge a whole model.

    \b
    Examples:
      archipel run export secret-order --out trained
      archipel run export secret-order --version 40 --out trained-40
      archipel run export my-adapter --out merged --merge
    """
    from archipel.blobs import BlobStore
    from archipel.model.new_directory import require_free
    from archipel.node.operator import fetch_version
    from archipel.work.export import ExportFailed, write_version

    folder = home_folder("export", home)
    with mending(ExportFailed, OSError, ValueError):
        require_free(out)
        store, support = BlobStore(folder / "blobs"), folder / "models" / name
        at_work("fetching")
        fetched = fetch_version(lab_url, store, name, version, support, weights=merge)
        links = ask_lab(fetched)
        at_work(f"computing {out}")
        digest = write_version(links, support, out, merge=merge, base_name=base_name)
    click.echo(f"{out}: weights {digest}")


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
