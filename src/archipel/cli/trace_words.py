"""What `archipel trace` says to people."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from archipel.cli.doors import printable
from archipel.plurals import counted
from archipel.release.trace.answer import Traced
from archipel.release.trace.gradient import HOW
from archipel.release.trace.kept_index import Kept
from archipel.release.trace.lineage import Ancestor
from archipel.release.trace.shares import KINDS, Line, Shares
from archipel.release.trace.told import Told

MAX_ENTRIES = 4
"""Named of one line; --json names all, --proofs writes them."""
MAX_PLACES = 3
MAX_SHOWN = 200
"""Characters of a span."""


def lines(
    told: Told, shares: Shares, lineage: Sequence[Ancestor], rows: int, proofs: Path | None
) -> Iterator[str]:
    """Of the shares."""
    index, head = told.index, told.head
    yield printable(f"{index.title}: version {index.version} of run {index.run}, {index.weights}")
    yield (
        f"learned from {counted(shares.groups, 'group')} and {counted(shares.tokens, 'token')} in "
        f"{counted(shares.results, 'result')}, by {counted(head.size, 'entry', 'entries')} of {index.lab}"
    )
    yield f"{'':2}{'tokens':>9}{'groups':>9}{'gradient':>10}"
    for kind in KINDS:
        found = shares.of(kind)
        yield kind if len(found) == 1 else f"{kind}s".replace("datas", "data")
        for each in found[:rows]:
            yield from _line(each, shares)
        if len(found) > rows:
            yield f"    and {len(found) - rows} more (--rows)"
    yield from _lineage(lineage)
    if shares.why_no_weights:
        yield f"weight in the gradient: unknown; {shares.why_no_weights}"
    elif any(line.weight for line in shares.lines):
        yield f"weight in the gradient: {HOW}."
    else:
        yield "weight in the gradient: no update had one; all rewards that were compared are equal"
    if proofs is not None:
        yield f"proofs in {proofs}; check one with archipel ledger check-proof"
    yield (
        "This is accounting, not causation: what was learned from, not what it changed. Every entry was checked against the "
        "head over the ledger in the bundle."
    )


def _line(line: Line, shares: Shares) -> Iterator[str]:
    of = (
        _percent(line.tokens, shares.tokens),
        _percent(line.groups, shares.groups),
        _percent(line.weight, 1),
    )
    named = ", ".join(map(str, line.entries[:MAX_ENTRIES]))
    more = f", ... ({len(line.entries)})" if len(line.entries) > MAX_ENTRIES else ""
    proof = f"entry {named}" if len(line.entries) == 1 else f"entries {named}{more}"
    yield printable(f"  {of[0]:>9}{of[1]:>9}{of[2]:>10}  {line.name}")
    yield printable(f"  {'':28}  {line.did}; {proof}")


def _percent(part: float | None, whole: float) -> str:
    return "-" if part is None or not whole else f"{100 * part / whole:.1f} %"


def _lineage(lineage: Sequence[Ancestor]) -> Iterator[str]:
    yield "lineage" if lineage else "lineage: no parent is named"
    for each in lineage:
        indent = "  " * each.generation
        licence = each.parent.licence or "licence not stated"
        yield printable(
            f"{indent}{each.parent.relation} {each.parent.name}, {each.parent.weights}, {licence}"
        )
        shown = "; ".join(each.shown) or "its owner's word alone; give its release with --parent"
        named = f"; entry {', '.join(map(str, each.entries))}" if each.entries else ""
        yield printable(f"{indent}  {shown}{named}")


def answer_lines(found: Traced, held: Kept, took_s: float) -> Iterator[str]:
    """Of an answer that was looked up."""
    total = len(found.answer)
    yield (
        f"{found.covered} of {counted(total, 'character')} stand in the training data, in {counted(len(found.passages), 'passage')}; "
        f"{counted(found.num_spans, 'span')} of {found.least} characters or more, in {took_s:.2f} s"
    )
    for each in found.quotations:
        text = each.text if len(each.text) <= MAX_SHOWN else f"{each.text[:MAX_SHOWN]}..."
        times = counted(each.span.num_places, "place")
        yield printable(f"  {text!r}: {times}, {each.span.bits:.0f} bits rare, characters {each.span.start} to {each.span.end}")  # fmt: skip
        for place in each.places[:MAX_PLACES]:
            entry = "" if place.document.entry is None else f", entry {place.document.entry}"
            yield printable(f"      {place.document.kind}: {place.where}{entry}")
            yield printable(f"        ...{place.before!r} [here] {place.after!r}...")
        if each.span.num_places > MAX_PLACES:
            yield f"      and {each.span.num_places - MAX_PLACES} more"
    yield (
        f"looked up in {counted(len(held.documents), 'document')}, {len(held.data)} bytes, {held.digest}"
    )
    yield from (printable(f"  left out: {each}") for each in held.left_out)
    yield (
        "This is accounting, not causation: that a text stands there is shown, that the model has it from there is not."
    )
