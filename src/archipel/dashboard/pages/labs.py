"""`/pages/labs`: other labs that this one knows, as their cards tell. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import Sight, pager
from archipel.dashboard.pages.rows import did
from archipel.dashboard.pages.value import Cell, Column, Notice, Page, Section, Table
from archipel.records.page_documents import KnownLabView

_HOW = (
    "archipel labs --directory URL --live",
    "archipel labs export labs.jsonl",
    "archipel lab card --set address=https://lab.example",
)
_COLUMNS = (
    Column("lab"),
    Column("address"),
    Column("for"),
    Column("licence"),
    Column("ledger", True),
    Column("witnesses"),
    Column("answered"),
    Column("known since"),
    Column("card"),
)
MAX_WITNESSES_SHOWN = 3


def labs(sight: Sight) -> Page:
    """The page."""
    start, where = sight.number("start"), paths.path("labs")
    shown = sight.labs[start : start + paths.ROWS]
    table = Table(
        "labs",
        "Labs that this one knows, by key",
        _COLUMNS,
        tuple(map(_row, shown)),
        "No other lab is known here: `archipel lab start --know URL` learns of some.",
        pager=pager(where, start, shown, len(sight.labs) > start + paths.ROWS),
    )
    doubtful = [each for each in sight.labs if each.contradicted]
    notices = tuple(
        Notice(
            f"{each.lab} signed two cards under number {each.number} that say different things",
            "bad",
        )
        for each in doubtful[: paths.ROWS]
    )
    words = (
        "A card is what a lab says of itself, under its signature; nothing of it was measured here.",
    )
    return Page(
        "Labs",
        where,
        "labs",
        sight.look.size,
        notices=notices,
        sections=(
            Section("all", "Other labs", words, tables=(table,)),
            Section("ask", "Ask them yourself", code=_HOW),
        ),
    )


def _row(view: KnownLabView) -> tuple[Cell, ...]:
    address = view.addresses[0] if view.addresses else ""
    others = ", ".join(view.addresses[1:])
    return (
        did(view.lab),
        Cell(wording.shown(address, 80) or wording.UNKNOWN, address, title=wording.shown(others)),
        Cell(wording.shown(view.purpose, 120) or wording.UNKNOWN, view.purpose, title=wording.shown(view.purpose)),
        Cell(wording.shown(view.licence, 40) or wording.UNKNOWN, view.licence),
        Cell(wording.UNKNOWN if view.entries is None else wording.count(view.entries), view.entries),
        _witnesses(view),
        _when(view.reached_ms),
        _when(view.since_ms),
        Cell(
            "contradicts itself" if view.contradicted else f"no. {view.number}",
            view.number,
            tone="bad" if view.contradicted else "plain",
            title=f"until {wording.moment(view.until_ms)}",
        ),
    )  # fmt: skip


def _witnesses(view: KnownLabView) -> Cell:
    if not view.witnessed:
        return Cell("none", tone="quiet")
    named = [
        f"{wording.shown(name, 40)} at {wording.moment(at_s * 1000)}"
        for name, at_s in view.witnessed[:MAX_WITNESSES_SHOWN]
    ]
    return Cell(", ".join(named), len(view.witnessed))


def _when(at_ms: int | None) -> Cell:
    return Cell(wording.UNKNOWN if at_ms is None else wording.moment(at_ms), at_ms)
