"""`archipel run verify`: a run looked at by somebody who believes nobody."""

from collections.abc import Iterator
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
from archipel.cli.lab_door import EXPECT, HEAD, JSON, THREADS, bounded_fetch
from archipel.cli.names import recipe_names, run_names
from archipel.cli.telling import beside
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.findings import Findings
    from archipel.cli.ledger_checked import Checked
    from archipel.cli.recomputing import Asked
    from archipel.lab.run_story import RunStory

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
@click.argument("name", shell_complete=run_names)
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
@click.option(
    "--replay",
    type=Updates(),
    default=0,
    help="Recompute the rollouts of N results, or all, of a run that is sampled by the exact contract.",
)
@click.option(
    "--recipe",
    "recipe_name",
    shell_complete=recipe_names,
    help="The recipe as you know it: it must be the run's.",
)
@THREADS
@bounded_fetch("--scratch")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where fetched blobs are kept, and what is made again for a while [~/.archipel/verify].",
)
@JSON
def verify(name: str, url: str | None, home: Path | None, as_json: bool, **given: Any) -> None:
    """Check a run as far as anybody can: its ledger, blobs, weights and results; with the secret, rewards and scores.

    Every version is recomputed from its anchor or delta and compared with its digest; every result is
    read as the lab had to read it; with --updates, versions are made again from what they were made
    from; with --replay, tokens and log-probabilities of an exact run are computed again. What could not
    be checked is listed at the end. Fetched blobs are kept: the same command goes on where it was
    stopped. Exit code 1: something does not hold.

    \b
    Examples:
      archipel run verify secret-order --lab http://lab.example:8440
      archipel run verify secret-order --home copy-of-lab --secret-file secret --updates 3
    """
    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    if home is None:
        url = url or DEFAULT_LAB_URL
    story, asked, checked = _heard(name, url, home, given)
    findings, stopped = _looked_at(story, url, home, asked, given)
    show(
        _facts(checked, story, findings),
        as_json,
        lambda: "\n".join(_lines(checked, story, findings)),
    )
    if stopped:
        raise click.Abort
    if findings.faults:
        things, verb = (
            counted(len(findings.faults), "thing"),
            "does" if len(findings.faults) == 1 else "do",
        )
        raise Mendable(f"{things} of run {name} {verb} not hold")


def _heard(
    name: str, url: str | None, home: Path | None, given: dict[str, Any]
) -> "tuple[RunStory, Asked, Checked]":
    """What the ledger says of the run, what is wanted, and under which head."""
    from archipel.cli.ledger_checked import read_ledger
    from archipel.cli.recomputing import Asked
    from archipel.cli.secrets import given_secret
    from archipel.lab.run_story import RunStory
    from archipel.lab.withdrawals import withdrawals

    secret, story = given_secret(given["secret_file"]), RunStory(name)
    earlier = [given["head_path"]] if given["head_path"] else []
    checked = read_ledger(
        url, None, home, given["expect"], earlier, lambda entry: story.hear(entry.statement)
    )
    story.withdrawn = withdrawals(checked.found.state, name)
    asked = Asked(
        rewards=given["rewards"] or secret is not None,
        updates=given["updates"],
        evaluations=given["evaluations"],
        replay=given["replay"],
        secret=secret,
        known_recipes=_digests_of(given["recipe_name"]),
        scratch=home_folder("verify", given["scratch"]),
    )
    return story, asked, checked


def _looked_at(
    story: "RunStory", url: str | None, home: Path | None, asked: "Asked", given: dict[str, Any]
) -> "tuple[Findings, bool]":
    """What was found, and whether somebody stopped the search."""
    from archipel.cli.findings import Findings
    from archipel.cli.run_blobs import blobs_of
    from archipel.cli.verification import verify_run

    _use_threads(given["threads"])
    root = (home or asked.scratch) / "blobs"
    findings = Findings(beside, withdrawn=story.taken_out)
    with blobs_of(url, root, asked.scratch, given["max_gb"]) as blobs:
        try:
            with mending(ValueError):
                verify_run(story, blobs, findings, asked)
        except KeyboardInterrupt:
            findings.limits.append(STOPPED)
            return findings, True
    return findings, False


def _digests_of(recipe_name: str | None) -> tuple[str, ...]:
    from archipel.cli.recipes import find_any_recipe

    if recipe_name is None:
        return ()
    return tuple(opening.digest for opening in find_any_recipe(recipe_name).openings)


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
        "rounds_cleared": _cleared(checked, story),
        "faults": report.faults,
        "withdrawn": report.told_withdrawn(),
        "not_checked": report.not_checked(),
    }


def _cleared(checked: "Checked", story: "RunStory") -> int:
    """Rounds whose clearing was computed again, by the fold."""
    market = checked.found.state.markets.get(story.name)
    return 0 if market is None else int(market.cleared)


def _lines(checked: "Checked", story: "RunStory", report: "Findings") -> Iterator[str]:
    from archipel.cli.findings import withdrawn_lines

    facts = _facts(checked, story, report)
    yield f"run {story.name} of {checked.did}, by {counted(facts['entries'], 'entry', 'entries')} under root {facts['root']}"
    yield "checked:"
    yield from (f"  {num} {what}" for what, num in report.checked.items())
    if facts["rounds_cleared"]:
        yield f"  {facts['rounds_cleared']} clearings of its market, and the price of every lease that they gave"
    if report.faults:
        yield "DOES NOT HOLD:"
        yield from (f"  {fault}" for fault in report.faults[:MAX_FAULTS_SHOWN])
        if len(report.faults) > MAX_FAULTS_SHOWN:
            yield f"  and {len(report.faults) - MAX_FAULTS_SHOWN} more (--json)"
    else:
        yield "everything that was checked holds"
    yield from withdrawn_lines(report)
    yield "not checked:"
    yield from (f"  {line}" for line in report.not_checked())
