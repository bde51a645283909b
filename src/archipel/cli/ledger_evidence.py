"""`archipel ledger evidence`: what a file of evidence shows, checked with nothing but the file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import mending, show
from archipel.cli.lab_door import EXPECT, JSON
from archipel.cli.ledger_checked import expected

if TYPE_CHECKING:
    from archipel.ledger.evidence import Finding


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@EXPECT
@JSON
def evidence(file: Path, expect: str | None, as_json: bool) -> None:
    """Check a file that is said to show that a lab signed two histories, or went back to an older one.

    Needs no network, no key and nobody's word: a fork is shown by the lab's own two signatures and a proof between them.
    Of a rollback they show both heads; that the smaller one was shown later is said by the observer who signed the file.
    Exit code 1: it shows nothing of the kind.

    \b
    Example:
      archipel ledger evidence HOME/mirrors/lab.example/evidence/3f0c....evidence
    """
    from archipel.ledger.evidence import MAX_EVIDENCE_BYTES, BadEvidence, read_evidence

    with mending(OSError, BadEvidence), file.open("rb") as opened:
        found = read_evidence(opened.read(MAX_EVIDENCE_BYTES + 1))
    expected(found.evidence.lab, expect)
    told = _told(found)
    show(told, as_json, lambda: _words(told))


def _told(found: "Finding") -> dict[str, Any]:
    said = found.evidence
    return {
        "kind": said.kind,
        "lab": said.lab,
        "earlier": said.earlier.decode(),
        "later": said.later.decode(),
        "sizes": [found.smaller.size, found.larger.size],
        "earlier_ms": said.earlier_ms,
        "later_ms": said.later_ms,
        "where": said.where,
        "observer": found.observer,
    }


def _words(told: dict[str, Any]) -> str:
    small, large = told["sizes"]
    shown = (
        f"two histories: its heads over {small} and {large} entries are both signed by its key, and the larger does not "
        "begin with the smaller; no word of the observer is needed for that"
        if told["kind"] == "fork"
        else f"it went back: it signed {large} entries, and showed {small} of them later. Both heads are its own; that "
        "the smaller one came later is the observer's word"
    )
    return (
        f"{told['lab']}\n{shown}\nseen by {told['observer']} at {_at(told['earlier_ms'])} and {_at(told['later_ms'])}, "
        f"the second at {told['where'] or 'no place that was named'}\n\n{told['earlier'].rstrip()}\n\n"
        f"{told['later'].rstrip()}"
    )


def _at(ms: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1000))
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
