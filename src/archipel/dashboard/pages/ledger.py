"""The ledger: its head and growth, its entries, and one entry with all it takes to check it. Pure.

Law: bytes of an entry come from strangers; what of them is not as an entry should be is said, and the rest is still shown.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight
from archipel.dashboard.pages.overview import growth_chart
from archipel.dashboard.pages.rows import did
from archipel.dashboard.pages.value import (
    Cell,
    Column,
    Figure,
    Link,
    Notice,
    Page,
    Pager,
    Section,
    Table,
)
from archipel.identity import Envelope, IdentityError
from archipel.ledger.merkle import leaf_hash
from archipel.plurals import counted

MAX_ENTRY_BYTES = 65_535
MAX_JSON_CHARACTERS = 60_000
_ENTRY = re.compile(rb'\{"at_ms":(0|-?[1-9][0-9]{0,15}),"record":(\{.*\})\}', re.DOTALL)
_ABOUT = ("run", "work", "node", "account", "name")


@dataclass(frozen=True, slots=True)
class EntryRead:
    """What an entry says, its signature not looked at."""

    number: int
    at_ms: int | None
    kind: str
    author: str
    said: dict[str, Any]
    data: bytes
    fault: str = ""


def read_entry(number: int, data: bytes) -> EntryRead:
    """Never raises: what cannot be read is told in `fault`."""
    parts = _ENTRY.fullmatch(data) if len(data) <= MAX_ENTRY_BYTES else None
    if parts is None:
        return EntryRead(
            number, None, "unreadable", "", {}, data, f"{len(data)} bytes that are no ledger entry"
        )
    try:
        envelope = Envelope.from_json(parts[2])
        said = json.loads(envelope.payload)
    except (IdentityError, ValueError, RecursionError) as error:
        return EntryRead(number, int(parts[1]), "unreadable", "", {}, data, str(error)[:300])
    if not isinstance(said, dict):
        return EntryRead(
            number, int(parts[1]), "unreadable", "", {}, data, "its record is no JSON object"
        )
    return EntryRead(
        number, int(parts[1]), str(said.get("kind", "")), str(said.get("author", "")), said, data
    )


def ledger(sight: Sight) -> Page:
    """`/pages/ledger`; `from`: the first entry that is listed, by default the newest ones."""
    size = sight.look.size
    first = sight.number("from", max(size - paths.ROWS, 0))
    entries = sight.source.entries(first, paths.ROWS) if first < size else ()
    rows = [read_entry(first + place, data) for place, data in enumerate(entries)][::-1]
    where = paths.path("ledger")
    growth = growth_chart(sight)
    head = sight.source.head()
    return Page(
        "Ledger", where, "ledger", size, "Append-only and signed; whoever replays it gets the same versions, totals and balances.",
        figures=(Figure("size", "Entries", wording.count(size), size),),
        sections=(
            Section("entries", "Entries", tables=(_listed(rows, _turn(where, first, len(rows), size)),)),
            *(() if growth is None else (Section("growth", "Growth", charts=(growth,)),)),
            Section("head", "Signed tree head", _witness_words(head), code=(wording.lines(head),)),
            Section(
                "check", "Check it yourself",
                ("Replay all of it, with no key: every signature, the tree, and each decision of the lab.",),
                code=("archipel ledger verify --lab URL", "archipel ledger mirror URL lab-ledger"),
            ),
        ),
        told_to=sight.series.size, has_series=growth is not None,
    )  # fmt: skip


def _turn(where: str, first: int, shown: int, size: int) -> Pager | None:
    """Back is towards what is newer."""
    if first == 0 and shown >= size:
        return None
    newer, older = first + shown, max(first - paths.ROWS, 0)
    back = f"{where}?from={newer}" if shown and newer < size else ""
    on = f"{where}?from={older}" if first else ""
    return Pager(max(newer - 1, first), first, back, on)


def _witness_words(head: str) -> tuple[str, ...]:
    """How many keys signed the head: the lab's, and each witness's."""
    names = [
        line.split(" ")[1]
        for line in head.splitlines()
        if line.startswith("— ") and line.count(" ") >= 2
    ]
    if len(names) < 2:
        return ("Signed by the lab; no witness has signed this head.",)
    return (
        f"Signed by the lab and {counted(len(names) - 1, 'witness', 'witnesses')}: {', '.join(wording.shown(each, 80) for each in names[1:9])}.",
    )


def _listed(rows: Sequence[EntryRead], turn: Pager | None) -> Table:
    columns = (
        Column("entry", True),
        Column("time"),
        Column("kind"),
        Column("author"),
        Column("about"),
    )
    cells = tuple(
        (
            Cell(f"#{each.number}", each.number, paths.entry(each.number)),
            Cell(wording.UNKNOWN if each.at_ms is None else wording.moment(each.at_ms), each.at_ms),
            Cell(wording.shown(each.kind, 60), tone="bad" if each.fault else "plain"),
            did(each.author),
            Cell(_about(each.said)),
        )
        for each in rows
    )
    return Table(
        "entries",
        "In the order in which the lab received them, the newest first",
        columns,
        cells,
        "There is no entry here.",
        pager=turn,
    )


def _about(said: dict[str, Any]) -> str:
    for name in _ABOUT:
        if isinstance(said.get(name), str):
            return wording.shown(f"{name} {said[name]}", 80)
    return wording.UNKNOWN


def entry(sight: Sight, word: str) -> Page:
    """`/pages/ledger/N`.

    Raises:
        NotThere: the ledger has no such entry.
    """
    size = sight.look.size
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", word) or int(word) >= size:
        raise NotThere(f"the ledger has entries 0 to {size - 1}, got {wording.shown(word, 40)}")
    number = int(word)
    found = list(sight.source.entries(number, 1))
    if not found:
        raise NotThere(f"entry {number} could not be read; try again")
    read = read_entry(number, found[0])
    return Page(
        f"Entry #{number}", paths.entry(number), "ledger", size, wording.shown(read.kind, 60),
        crumbs=(Link("Ledger", paths.asked(paths.path("ledger"), **{"from": max(number - 10, 0)})),),
        figures=_facts(read),
        notices=(Notice(wording.shown(read.fault), "bad"),) if read.fault else (),
        sections=(
            Section("record", "What was signed", ("The record's canonical JSON, with line breaks for people.",), code=(_pretty(read.said),), links=_beside(number, size)),
            Section(
                "check", "Check it yourself",
                ("The leaf hash is over the entry's own bytes; the proof shows that the signed tree head holds it.",),
                code=(f"archipel ledger mirror URL lab-ledger\narchipel ledger prove lab-ledger {number} --out proof\narchipel ledger check-proof proof/{number}.tlog-proof proof/{number}.entry",),
            ),
        ),
    )  # fmt: skip


def _facts(read: EntryRead) -> tuple[Figure, ...]:
    leaf = leaf_hash(read.data).hex()
    at = wording.UNKNOWN if read.at_ms is None else wording.moment(read.at_ms)
    return (
        Figure("kind", "Kind", wording.shown(read.kind, 60), read.kind),
        Figure("at_ms", "Received", at, read.at_ms, "by the lab's clock"),
        Figure("author", "Author", wording.short_did(read.author) if read.author else wording.UNKNOWN, read.author, wording.shown(read.author, 80)),
        Figure("bytes", "Bytes", wording.count(len(read.data)), len(read.data)),
        Figure("leaf_sha256", "Leaf hash", f"{leaf[:16]}…", leaf, leaf),
        Figure("data_base64", "Raw bytes", "raw", base64.b64encode(read.data).decode(), to=f"{paths.entry(read.number)}.raw"),
    )  # fmt: skip


def _pretty(said: dict[str, Any]) -> str:
    text = json.dumps(said, indent=2, ensure_ascii=True)
    return text if len(text) <= MAX_JSON_CHARACTERS else text[:MAX_JSON_CHARACTERS] + "\n…"


def _beside(number: int, size: int) -> tuple[Link, ...]:
    before = (Link(f"Before: #{number - 1}", paths.entry(number - 1)),) if number else ()
    after = (Link(f"After: #{number + 1}", paths.entry(number + 1)),) if number + 1 < size else ()
    return before + after
