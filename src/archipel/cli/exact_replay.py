"""`archipel exact replay`: tokens and log-probabilities of a run recomputed by somebody who believes nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from archipel.cli.doors import DEFAULT_LAB_URL, LabUrl, Mendable, home_folder, mending, show
from archipel.cli.grouped import as_one
from archipel.cli.lab_door import EXPECT, HEAD, JSON, THREADS, bounded_fetch
from archipel.cli.outputs import NewFile
from archipel.cli.telling import beside
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.findings import Findings
    from archipel.cli.ledger_checked import Checked, Seen
    from archipel.cli.replaying import ReplayedRun
    from archipel.lab.run_story import RunStory

MAX_SHOWN = 50


class Place(NamedTuple):
    """Where a ledger is read, and which it must be."""

    url: str | None
    """Of a lab; None: it lies here."""
    home: Path | None
    ledger: str | None
    blobs: Path | None
    """None: what is fetched of them is kept."""
    expect: str | None
    head_path: Path | None

    def heard(self, hear: "Seen") -> "Checked":
        """The ledger, every entry told. Raises Mendable: it cannot be read, or does not hold."""
        from archipel.cli.ledger_checked import read_ledger

        earlier = [self.head_path] if self.head_path else []
        return read_ledger(self.url, self.ledger, self.home, self.expect, earlier, hear)


def _place(
    url: str | None,
    home: Path | None,
    ledger: str | None,
    blob_folder: Path | None,
    expect: str | None,
    head_path: Path | None,
) -> Place:
    if (ledger is None) != (blob_folder is None):
        raise click.UsageError("--ledger and --blobs belong together; give both or neither")
    if sum(place is not None for place in (url, home, ledger)) > 1:
        raise click.UsageError("give one of --lab, --home, and --ledger with --blobs")
    if home is None and ledger is None:
        url = url or DEFAULT_LAB_URL
    blobs = blob_folder if home is None else home / "blobs"
    return Place(url, home, ledger, blobs, expect, head_path)


class Results(NamedTuple):
    """Which of a run are recomputed; neither: all."""

    works: tuple[str, ...]
    sample: int | None
    seed: int


place_options = as_one(
    "place",
    _place,
    click.option(
        "--lab", "url", metavar="URL", type=LabUrl(), help=f"A lab that runs [{DEFAULT_LAB_URL}]."
    ),
    click.option(
        "--home", type=click.Path(path_type=Path), help="A lab's folder, or a copy of one."
    ),
    click.option("--ledger", metavar="FILE", help="A copy of a ledger, with --blobs."),
    click.option(
        "--blobs",
        "blob_folder",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="The folder of blobs that belongs to --ledger.",
    ),
    EXPECT,
    HEAD,
)
results_options = as_one(
    "results",
    Results,
    click.option("--work", "works", multiple=True, metavar="NAME", help="This result; repeatable."),
    click.option(
        "--sample", type=click.IntRange(1), metavar="N", help="Only N results, taken by chance."
    ),
    click.option("--seed", default=0, show_default=True, help="Which ones --sample takes."),
)


@click.command()
@click.argument("name", metavar="RESULT")
@place_options
@results_options
@THREADS
@bounded_fetch("~/.archipel/verify")
@click.option(
    "--question",
    type=NewFile(".json"),
    metavar="PATH",
    help="Write the first rollout that differs as a question for `archipel exact trace`.",
)
@JSON
def command(
    name: str,
    place: Place,
    results: Results,
    threads: int,
    max_gb: float,
    question: Path | None,
    as_json: bool,
) -> None:
    """Recompute accepted rollouts of an exact run: RESULT is one result (`run.7`), or a run's name for all.

    Weights are made from the run's anchors and deltas and compared with their digests; every token and
    every bit of every log-probability is then computed again from them, the prompts and the seeds. No key
    and no secret is needed, and any machine gives the same. Exit code 1: something differs, and the first
    position at which it does is said. Results that a verdict has withdrawn are in no version: they are named with
    the verdict, and recomputed where they are asked for by name.

    \b
    Examples:
      archipel exact replay secret-order.7 --lab http://lab.example:8440
      archipel exact replay secret-order --sample 20 --seed 3 --home copy-of-lab
      archipel exact replay secret-order --ledger copy/ledger.sqlite --blobs copy/blobs --json
    """
    from archipel.cli.findings import Findings
    from archipel.cli.run_blobs import Altered, NotKept, blobs_of
    from archipel.lab.run_story import RunStory
    from archipel.lab.withdrawals import withdrawals

    run, of_run, number = name.partition(".")
    story, scratch = RunStory(run), home_folder("verify", None)
    checked = place.heard(lambda entry: story.hear(entry.statement))
    if story.opened is None:
        raise Mendable(f"this ledger opens no run {run!r:.80}")
    story.withdrawn = withdrawals(checked.found.state, run)
    named = (name, *results.works) if of_run and number else results.works
    findings = Findings(beside, withdrawn=story.taken_out)
    stored = blobs_of(place.url, place.blobs or scratch / "blobs", scratch, max_gb)
    with stored as blobs, mending(ValueError, NotKept, Altered):
        from archipel.cli.replaying import RunReplay, sampled_works

        _use_threads(threads)
        chosen = list(named) or list(story.standing)
        if results.sample is not None:
            chosen = sampled_works(chosen, results.sample, results.seed)
        replay = RunReplay(story, blobs, findings, chosen)
        replay.run()
    show(
        _facts(checked, story, findings, replay.done),
        as_json,
        lambda: "\n".join(_lines(checked, story, findings, replay.done)),
    )
    if question is not None:
        _write_question(question, replay.done)
    if findings.faults:
        verb = "does" if len(findings.faults) == 1 else "do"
        raise Mendable(f"{counted(len(findings.faults), 'thing')} of run {run} {verb} not hold")
    if findings.missing:
        raise Mendable("not everything that was asked for could be recomputed")


def _write_question(path: Path, done: "ReplayedRun") -> None:
    import json

    from archipel.engine.exact.trace_files import fields_of

    if done.question is not None:
        with mending(OSError):
            path.write_text(json.dumps(fields_of(done.question)) + "\n")


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _facts(
    checked: "Checked", story: "RunStory", findings: "Findings", done: "ReplayedRun"
) -> dict[str, Any]:
    import base64

    return {
        "lab": checked.did,
        "entries": checked.head.size,
        "root": base64.b64encode(checked.head.root).decode(),
        "run": story.name,
        "contract": story.pace.exact,
        "results": done.results,
        "rollouts": done.rollouts,
        "positions": done.positions,
        "equal": not findings.faults and not findings.missing,
        "differences": done.differences,
        "faults": findings.faults,
        "withdrawn": findings.told_withdrawn(),
        "not_checked": findings.not_checked(),
    }


def _lines(
    checked: "Checked", story: "RunStory", findings: "Findings", done: "ReplayedRun"
) -> Iterator[str]:
    from archipel.cli.findings import withdrawn_lines

    facts = _facts(checked, story, findings, done)
    yield f"run {story.name} of {checked.did}, by {facts['entries']} entries under root {facts['root']}"
    yield f"contract {story.pace.exact}"
    yield str(done)
    if findings.faults:
        yield "DOES NOT HOLD:"
        yield from (f"  {fault}" for fault in findings.faults[:MAX_SHOWN])
        if len(findings.faults) > MAX_SHOWN:
            yield f"  and {len(findings.faults) - MAX_SHOWN} more (--json)"
    yield from withdrawn_lines(findings)
    if findings.missing:
        yield "not checked:"
        yield from (f"  {line}" for line in findings.not_checked())
