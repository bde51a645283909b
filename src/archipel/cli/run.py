"""`archipel run`: open, watch, explain, stop, export and verify runs."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from archipel.cli.doors import LAB, KeyName, Mendable, home_folder, mending, show, until_ctrl_c
from archipel.cli.run_verify import verify

RUNS_PER_PAGE = 1000
MAX_RUNS_SHOWN = 100_000
T = TypeVar("T")
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group()
def command() -> None:
    """Open, watch, explain, stop, export and verify runs."""


command.add_command(verify)


@command.command("open")
@click.argument("recipe_name", metavar="RECIPE")
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Model directory of version 0 (see `archipel sft`).",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="DID",
    type=KeyName(),
    help="Trusted role's key [this machine's].",
)
@click.option("--key", type=click.Path(path_type=Path), help="[~/.archipel/lab/operator.key]")
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved recipe and its digest; open nothing."
)
@LAB
@JSON
def open_(
    recipe_name: str,
    weights: Path,
    trust: tuple[str, ...],
    key: Path | None,
    dry_run: bool,
    lab_url: str,
    as_json: bool,
) -> None:
    """Open a run of RECIPE (a TOML file, or the name of a shipped one).

    \b
    Examples:
      archipel run open secret-order --weights start --dry-run
      archipel run open my.toml --weights start --trust did:key:z6Mk...
    """
    from archipel.cli.recipes import find_any_recipe
    from archipel.identity import Identity, IdentityError
    from archipel.model.weight_files import rounding_note
    from archipel.node.operator import open_run, terms_and_pace

    recipe = find_any_recipe(recipe_name)
    with mending(ValueError, OSError):
        note = rounding_note(weights)
    if note:
        click.echo(note, err=True)
    if dry_run:
        with mending(OSError, ValueError):
            terms, pace = terms_and_pace(recipe, weights)
        resolved = {"recipe": recipe, "terms": terms, "pace": pace}
        shown = {name: part.model_dump(mode="json") for name, part in resolved.items()}
        click.echo(json.dumps({"digest": recipe.digest, **shown}, indent=2))
        return
    with mending(IdentityError, OSError):
        identity = Identity.load(key or home_folder("lab", None, make=False) / "operator.key")
        trusted = _trusted(recipe.digest, trust)
    with mending(OSError, ValueError):
        receipt = ask_lab(open_run(lab_url, identity, recipe, weights, trusted))
    show(
        {"run": recipe.run.name, "recipe": recipe.digest, **receipt.model_dump(mode="json")},
        as_json,
        lambda: (
            f"run {recipe.run.name} is open (ledger entry {receipt.index}); recipe {recipe.digest}"
        ),
    )


def _trusted(recipe_digest: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of the trusted role; if this machine's is among them, it may do this recipe."""
    from archipel.identity import Identity
    from archipel.node.approvals import approve

    home = home_folder("update", None)
    own = Identity.load_or_create(home / "node.key").did
    trusted = named or (own,)
    if own in trusted:
        approve(home, recipe_digest)
    return trusted


@command.command("list")
@LAB
@JSON
def list_(lab_url: str, as_json: bool) -> None:
    """All runs of a lab.

    \b
    Example:
      archipel run list --lab http://lab.example:8440
    """
    runs = ask_lab(_all_runs(lab_url))
    show(runs, as_json, lambda: "\n".join(_run_line(run) for run in runs) or "no runs")


@command.command("show")
@click.argument("name")
@LAB
@JSON
def show_(name: str, lab_url: str, as_json: bool) -> None:
    """Where one run stands.

    \b
    Example:
      archipel run show secret-order --json
    """
    run = ask_lab(_get(lab_url, f"/runs/{name}"))

    def text() -> str:
        long = ("rewards", "progress")
        plain = {name: value for name, value in run.items() if name not in long}
        return "\n".join(f"{k:22} {v}" for k, v in (plain | run["progress"]).items())

    show(run, as_json, text)


@command.command()
@click.argument("name", required=False)
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.1, 60))
@LAB
def watch(name: str | None, every: float, lab_url: str) -> None:
    """Live view: version, reward, staleness, nodes, learner utilisation, bytes. Ctrl-C ends it.

    \b
    Examples:
      archipel run watch
      archipel run watch secret-order --lab http://lab.example:8440
    """
    from archipel.cli.watching import watch_runs

    with until_ctrl_c():
        ask_lab(watch_runs(lab_url, name, every))


@command.command("why-stuck")
@LAB
@JSON
def why_stuck(lab_url: str, as_json: bool) -> None:
    """Which wait is blocking each run, who owns it, and until when.

    \b
    Example:
      archipel run why-stuck
    """
    waits = ask_lab(_get(lab_url, "/waits"))

    def text() -> str:
        lines = []
        for wait in waits:
            left = "" if wait["left_s"] is None else f", {wait['left_s']:.0f} s to its deadline"
            lines.append(f"{wait['run']}: {wait['waiting_for']}")
            lines.append(f"    owner: {wait['owner']}{left}; {wait['advice']}")
        return "\n".join(lines) or "nothing is waiting: every run is finished"

    show(waits, as_json, text)


@command.command()
@click.argument("name")
@click.option("--reason", default="stopped by the operator", show_default=True)
@click.option("--key", type=click.Path(path_type=Path), help="[~/.archipel/lab/operator.key]")
@LAB
def stop(name: str, reason: str, key: Path | None, lab_url: str) -> None:
    """End a run early; what was accepted stays accepted and paid.

    \b
    Example:
      archipel run stop secret-order --reason "reward has converged"
    """
    from archipel.identity import Identity, IdentityError
    from archipel.node.operator import stop_run

    with mending(IdentityError, OSError):
        identity = Identity.load(key or home_folder("lab", None, make=False) / "operator.key")
    ask_lab(stop_run(lab_url, identity, name, reason))
    click.echo(f"run {name} is stopped")


@command.command()
@click.argument("name")
@click.option("--key", type=click.Path(path_type=Path), help="[~/.archipel/lab/operator.key]")
@LAB
def retry(name: str, key: Path | None, lab_url: str) -> None:
    """Hand out work of a run again at once, after what made it fail was mended (see why-stuck).

    Work that fails time after time rests on the machine where it failed, longer each time. Besides the
    operator, a trusted role may say this: --key ~/.archipel/update/node.key.

    \b
    Example:
      archipel run retry secret-order
    """
    from archipel.identity import Identity, IdentityError
    from archipel.node.operator import retry_run

    with mending(IdentityError, OSError):
        identity = Identity.load(key or home_folder("lab", None) / "operator.key")
    ask_lab(retry_run(lab_url, identity, name))
    click.echo(f"work of run {name} is handed out again")


@command.command()
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option("--version", type=int, help="[the newest]")
@click.option("--home", type=click.Path(path_type=Path), help="Cache [~/.archipel/export].")
@LAB
def export(name: str, out: Path, version: int | None, home: Path | None, lab_url: str) -> None:
    """Fetch a policy version, verify it, and write a model directory that others can load.

    \b
    Examples:
      archipel run export secret-order --out trained
      archipel run export secret-order --version 40 --out trained-40
    """
    from archipel.blobs import BlobStore
    from archipel.model.new_directory import require_free
    from archipel.node.operator import fetch_version
    from archipel.work.export import ExportFailed, write_version

    folder = home_folder("export", home)
    with mending(ExportFailed, OSError, ValueError):
        require_free(out)
        store, support = BlobStore(folder / "blobs"), folder / "models" / name
        links = ask_lab(fetch_version(lab_url, store, name, version, support))
        digest = write_version(links, support, out)
    click.echo(f"{out}: weights {digest}")


def ask_lab(question: Coroutine[Any, Any, T]) -> T:
    """Run an exchange with a lab; its refusals and its absence end as one sentence."""
    from archipel.node.exchange import LabRefused, LabUnreachable

    try:
        return asyncio.run(question)
    except LabUnreachable as error:
        raise Mendable(f"no answer from the lab: {error}; is it running? (--lab URL)") from None
    except LabRefused as error:
        raise Mendable(f"the lab refused: {error}") from None


async def _get(lab_url: str, path: str) -> Any:
    from archipel.node.client import LabReader

    async with LabReader(lab_url) as lab:
        return await lab.get(path)


async def _all_runs(lab_url: str) -> list[dict[str, Any]]:
    from archipel.node.client import LabReader

    runs: list[dict[str, Any]] = []
    async with LabReader(lab_url) as lab:
        while len(runs) < MAX_RUNS_SHOWN:
            page = await lab.get(f"/runs?start={len(runs)}&limit={RUNS_PER_PAGE}")
            runs += page
            if len(page) < RUNS_PER_PAGE:
                break
    return runs


def _run_line(run: dict[str, Any]) -> str:
    reward = "" if run["reward"] is None else f" reward {run['reward']:.3f}"
    return f"{run['run']:24} {run['phase']:10} version {run['version']}/{run['versions']}{reward}"
