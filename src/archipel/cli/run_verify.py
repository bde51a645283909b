"""`archipel run verify`: a run looked at by somebody who believes nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import (
    DEFAULT_LAB_URL,
    LabUrl,
    Mendable,
    home_folder,
    mending,
    show,
)
from archipel.cli.lab_door import EXPECT, HEAD

if TYPE_CHECKING:
    from archipel.cli.findings import Findings
    from archipel.cli.ledger import Checked
    from archipel.cli.run_blobs import Blobs
    from archipel.lab.run_story import RunStory

GIB = 2**30
MAX_FAULTS_SHOWN = 50
STOPPED = "what comes after the moment at which you stopped this"


class Updates(click.ParamType):
    """`all`, or a number."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """-1 for all."""
        if value == "all":
            return -1
        if isinstance(value, int):
            return value
        if not (isinstance(value, str) and value.isascii() and value.isdecimal()):
            self.fail(f"{value!r} is neither a number nor 'all'", param, ctx)
        return int(value)


@click.command()
@click.argument("name")
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help=f"A lab that runs [{DEFAULT_LAB_URL}]."
)
@click.option("--home", type=click.Path(path_type=Path), help="A lab's folder, or a copy of one.")
@EXPECT
@HEAD
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The verifier's secret, if you have it: rewards are graded again.",
)
@click.option("--rewards", is_flag=True, help="Grade again although the recipe has no secret.")
@click.option(
    "--updates",
    type=Updates(),
    default=0,
    help="Make the first N versions again from their inputs, or all; as slow as the run's own updates.",
)
@click.option(
    "--evaluations",
    type=Updates(),
    help="Make the newest N evaluations again, or all [1 where rewards are graded, else 0].",
)
@click.option("--recipe", "recipe_name", help="The recipe as you know it: it must be the run's.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024))
@click.option(
    "--max-gb",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Most that is fetched and kept in ~/.archipel/verify.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(
    name: str,
    url: str | None,
    home: Path | None,
    expect: str | None,
    head_path: Path | None,
    secret_file: Path | None,
    rewards: bool,
    updates: int,
    evaluations: int | None,
    recipe_name: str | None,
    threads: int,
    max_gb: float,
    as_json: bool,
) -> None:
    """Check a run as far as anybody can: its ledger, blobs, weights and results; with the secret, rewards and scores.

    Every version is recomputed from its anchor or delta and compared with its digest; every result is
    read as the lab had to read it; with --updates, versions are made again from what they were made
    from. What could not be checked is listed at the end. Fetched blobs are kept: the same command goes
    on where it was stopped. Exit code 1: something does not hold.

    \b
    Examples:
      archipel run verify secret-order --lab http://lab.example:8440
      archipel run verify secret-order --home copy-of-lab --secret-file secret --updates 3
    """
    from archipel.cli.findings import Findings
    from archipel.cli.ledger import read_ledger
    from archipel.cli.recomputing import Asked
    from archipel.cli.secrets import given_secret
    from archipel.cli.verification import verify_run
    from archipel.lab.run_story import RunStory

    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    if home is None:
        url = url or DEFAULT_LAB_URL
    secret = given_secret(secret_file)
    story, scratch = RunStory(name), home_folder("verify", None)
    checked = read_ledger(
        url,
        None,
        home,
        expect,
        [head_path] if head_path else [],
        lambda entry: story.hear(entry.statement),
    )
    asked = Asked(
        rewards=rewards or secret is not None,
        updates=updates,
        evaluations=evaluations,
        secret=secret,
        known_recipe=_digest_of(recipe_name),
        scratch=scratch,
    )
    _use_threads(threads)
    with _blobs(url, home or scratch, scratch, max_gb) as blobs:
        findings, stopped = Findings(lambda where: click.echo(where, err=True)), False
        try:
            with mending(ValueError):
                verify_run(story, blobs, findings, asked)
        except KeyboardInterrupt:
            stopped = True
            findings.limits.append(STOPPED)
    show(
        _facts(checked, story, findings),
        as_json,
        lambda: "\n".join(_lines(checked, story, findings)),
    )
    if stopped:
        raise click.Abort
    if findings.faults:
        raise Mendable(f"{len(findings.faults)} things of run {name} do not hold")


@contextmanager
def _blobs(url: str | None, home: Path, scratch: Path, max_gb: float) -> "Iterator[Blobs]":
    from archipel.blobs import BlobStore
    from archipel.cli.run_blobs import HomeBlobs, LabBlobs

    if url is None:
        yield HomeBlobs(home)
        return
    with mending(OSError):
        store = BlobStore(scratch / "blobs", quota_bytes=int(max_gb * GIB))
    with LabBlobs(url, store) as lab:
        yield lab


def _digest_of(recipe_name: str | None) -> str | None:
    from archipel.cli.recipes import find_any_recipe

    return None if recipe_name is None else find_any_recipe(recipe_name).digest


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _facts(checked: "Checked", story: "RunStory", report: "Findings") -> dict[str, Any]:
    import base64

    return {
        "lab": checked.did,
        "entries": checked.head.size,
        "root": base64.b64encode(checked.head.root).decode(),
        "run": story.name,
        "versions": len(story.updates) - 1,
        "checked": dict(report.checked),
        "faults": report.faults,
        "not_checked": report.not_checked(),
    }


def _lines(checked: "Checked", story: "RunStory", report: "Findings") -> Iterator[str]:
    facts = _facts(checked, story, report)
    yield f"run {story.name} of {checked.did}, by {facts['entries']} entries under root {facts['root']}"
    yield "checked:"
    yield from (f"  {num} {what}" for what, num in report.checked.items())
    if report.faults:
        yield "DOES NOT HOLD:"
        yield from (f"  {fault}" for fault in report.faults[:MAX_FAULTS_SHOWN])
        if len(report.faults) > MAX_FAULTS_SHOWN:
            yield f"  and {len(report.faults) - MAX_FAULTS_SHOWN} more (--json)"
    else:
        yield "everything that was checked holds"
    yield "not checked:"
    yield from (f"  {line}" for line in report.not_checked())
