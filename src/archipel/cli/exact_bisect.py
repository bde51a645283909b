"""`archipel exact bisect`: two traces of one rollout, led to the one number in which they differ."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.exact_trace import MODEL, read_version
from archipel.cli.outputs import NewFile

if TYPE_CHECKING:
    from archipel.engine.exact.dispute import Verdict

TRACE = click.Path(path_type=Path, dir_okay=False, exists=True)
WORDS = {
    "equal": "equal: both committed to the same numbers",
    "mine": "MINE is right",
    "theirs": "THEIRS is right",
    "neither": "neither is right",
}


@click.command()
@MODEL
@click.argument("mine", type=TRACE)
@click.argument("theirs", type=TRACE)
@click.option(
    "--transcript", type=NewFile(".json"), metavar="PATH", help="Write down what was asked of whom."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(model: Path, mine: Path, theirs: Path, transcript: Path | None, as_json: bool) -> None:
    """Decide between two traces that `archipel exact trace` wrote: where they first differ, and who is right.

    Each is asked for halves of what it committed to, until one number is left; that number is then computed
    again from MODEL, in integers, from the row on which both agree. Exit code 1: MINE is wrong.

    \b
    Examples:
      archipel exact bisect model mine.safetensors theirs.safetensors --transcript dispute.json
    """
    from archipel.engine.exact.dispute import settle
    from archipel.engine.exact.judge import Judge
    from archipel.engine.exact.parties import TraceParty
    from archipel.engine.exact.trace_files import read_trace

    with mending(ValueError, OSError):
        version = read_version(model)
        parties = [TraceParty(read_trace(path, version.config)) for path in (mine, theirs)]
        judge = Judge(version.config, version.state, version.manifest, parties[0].question)
        for party in parties:
            _ = party.root  # committed to before the first question
        before = time.perf_counter()
        verdict = settle(parties[0], parties[1], judge)
        took_ms = (time.perf_counter() - before) * 1000
    facts = _facts(verdict, took_ms)
    if transcript is not None:
        asks = [
            [whom, ask.what, ask.leaf, ask.level, ask.index, *ask.within]
            for whom, ask in verdict.transcript.asks
        ]
        with mending(OSError):
            transcript.write_text(json.dumps(facts | {"asks": asks}) + "\n")
    show(facts, as_json, lambda: "\n".join(_lines(facts)))
    if verdict.right in ("theirs", "neither"):
        raise Mendable(f"{mine} is wrong: {verdict.reason}")


def _facts(verdict: "Verdict", took_ms: float) -> dict[str, Any]:
    place, told = verdict.place, verdict.transcript
    return {
        "right": verdict.right,
        "reason": verdict.reason,
        "position": None if place is None else place.position,
        "step": None if place is None else place.step,
        "number": None if place is None else place.element,
        "within": [] if place is None else list(place.within),
        "place": None if place is None else str(place),
        "questions": len(told.asks),
        "digest_bytes": told.digest_bytes,
        "other_bytes": told.other_bytes,
        "evidence_bytes": told.evidence_bytes,
        "took_ms": round(took_ms, 3),
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [WORDS[facts["right"]]]
    if facts["place"] is not None:
        lines.append(facts["place"])
        lines.append(facts["reason"])
    lines.append(
        f"{facts['questions']} questions: {facts['digest_bytes']} bytes of digests, "
        f"{facts['other_bytes']} others, {facts['evidence_bytes']} for the judge; {facts['took_ms']} ms"
    )
    return lines
