"""Who owns a run: holders, votes, receipts. A section of its page. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.rows import did, entry
from archipel.dashboard.pages.value import Cell, Column, Figure, Section, Table
from archipel.records.ownership_documents import OwnershipView

UNITS = 10**12


def ownership_section(view: OwnershipView) -> Section:
    """Shares as they are, or as they would be if the run ended now."""
    words = (
        "Shares were divided."
        if view.is_divided
        else "Shares are not divided yet; these are what they would be."
    )
    why = f" {wording.shown(view.why_not)}" if view.why_not else ""
    proof = () if view.issued_entry is None else (view.issued_entry,)
    figures = (
        Figure(
            "num_holders",
            "Holders",
            wording.count(view.num_holders),
            view.num_holders,
            entries=proof,
        ),
        Figure(
            "treasury_micro", "Treasury", wording.amount(view.treasury_micro), view.treasury_micro
        ),
    )
    tables = [_holders(view)]
    tables += [_votes(view)] if view.votes else []
    tables += [_meters(view)] if view.meters else []
    return Section("ownership", "Ownership", (words + why,), figures=figures, tables=tuple(tables))


def _holders(view: OwnershipView) -> Table:
    columns = (
        Column("holder"),
        Column("share", True),
        Column("earned", True),
        Column("funded", True),
    )
    rows = tuple(
        (
            did(each.holder, paths.operator(each.holder)) if each.holder.startswith("did:") else Cell(wording.shown(each.holder)),
            Cell(f"{each.units / UNITS:.2%}", each.units, share=each.units / UNITS),
            Cell(wording.amount(each.earned_micro), each.earned_micro),
            Cell(wording.amount(each.funded_micro), each.funded_micro),
        )
        for each in view.holders
    )  # fmt: skip
    return Table("holders", "Who holds most first", columns, rows, "Nobody holds any.")


def _votes(view: OwnershipView) -> Table:
    columns = (
        Column("about"),
        Column("question"),
        Column("phase"),
        Column("yes", True),
        Column("no", True),
        Column("entry", True),
    )
    rows = tuple(
        (
            Cell(wording.words(each.about)), Cell(wording.shown(each.text)), Cell(each.phase),
            Cell(_of(each.yes, each.all), each.yes), Cell(_of(each.no, each.all), each.no), entry(each.entry),
        )
        for each in view.votes
    )  # fmt: skip
    return Table("votes", "What owners decide", columns, rows)


def _of(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else wording.UNKNOWN


def _meters(view: OwnershipView) -> Table:
    columns = (Column("meter"), Column("receipts", True), Column("due", True), Column("paid", True))
    rows = tuple(
        (
            did(each.meter), Cell(wording.count(each.receipts), each.receipts),
            Cell(wording.amount(each.due_micro), each.due_micro), Cell(wording.amount(each.paid_micro), each.paid_micro),
        )
        for each in view.meters
    )  # fmt: skip
    return Table("meters", "What the model earned", columns, rows)
