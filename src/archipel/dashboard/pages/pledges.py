"""Pledges of compute, of all or of those that one run's work counts for, each beside what was given. Pure.

Law: a lab sees only what was done for itself; what a page calls kept is that, and no more.
"""

from collections.abc import Sequence

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight, pager
from archipel.dashboard.pages.rows import did, entry
from archipel.dashboard.pages.value import Cell, Column, Figure, Link, Page, Pager, Section, Table
from archipel.plurals import counted
from archipel.records.compute import MILLION
from archipel.records.compute_documents import ComputePledgeView
from archipel.records.page_documents import PledgeCounts

HOUR_MS = 3_600_000
MOST_OF_RUN = 8
"""On a run's own page."""
_WORDS = (
    "A pledge is a provider's word: so much of its machines' time for this lab, or for whatever serves a purpose. "
    "What was given is counted from grants to accepted answers, as the ledger shows them; what the machines did for other "
    "labs nobody sees here, and nobody is held to a pledge.",
)
_COLUMNS = (
    Column("provider"),
    Column("for"),
    Column("pledged"),
    Column("given a week", True),
    Column("given", True),
    Column("answers", True),
    Column("tokens", True),
    Column("made"),
    Column("stands"),
    Column("entry", True),
)


def pledges(sight: Sight) -> Page:
    """`/pages/pledges`, perhaps of one run.

    Raises:
        NotThere: no run has the name that was asked for.
    """
    name, start, where = sight.query.get("run", ""), sight.number("start"), paths.path("pledges")
    if name and sight.look.run(name) is None:
        raise NotThere(
            f"no run here is called {wording.shown(name, 80)}; /pages/pledges has all pledges"
        )
    found = list(sight.look.pledges(start, paths.ROWS + 1, run=name or None))
    shown = found[: paths.ROWS]
    table = pledges_table(shown, pager(where, start, shown, len(found) > paths.ROWS, run=name))
    title = f"Pledges that work of {wording.shown(name)} counts for" if name else "Pledges"
    return Page(
        title, paths.asked(where, run=name), "pledges", sight.look.size,
        crumbs=(Link("Pledges", where),) if name else (),
        figures=_figures(sight.look.pledge_counts(run=name or None)),
        sections=(
            Section("all", "Compute that was pledged", _WORDS, tables=(table,)),
            Section("pledge", "Pledge some yourself", ("After the machine has joined:",),
                code=("archipel node pledge URL --share 0.25 --until 2027-06-30", "archipel node pledge --purpose medicine --hours 20 --until 2027-06-30")),
        ),
    )  # fmt: skip


def pledges_section(sight: Sight, run: str) -> Section | None:
    """Of a run's page; None: nobody pledged anything that its work counts for."""
    counts = sight.look.pledge_counts(run=run)
    if not counts.pledges:
        return None
    where = paths.asked(paths.path("pledges"), run=run)
    words = f"Work of this run counts for {counted(counts.holding, 'pledge')} that {'holds' if counts.holding == 1 else 'hold'}."
    table = pledges_table(sight.look.pledges(0, MOST_OF_RUN, run=run))
    links = (Link(f"All of them ({wording.count(counts.pledges)})", where),)
    return Section("pledges", "Pledged compute", (words,), tables=(table,), links=links)


def pledges_table(views: Sequence[ComputePledgeView], where: Pager | None = None) -> Table:
    """A row each."""
    return Table(
        "pledges",
        "Pledges of compute, those that hold first",
        _COLUMNS,
        tuple(map(_row, views)),
        "Nobody pledged compute to this lab, or to a purpose: `archipel node pledge` does.",
        note="given a week: since the pledge was made; the bar is the part of the hours that were pledged",
        pager=where,
    )


def _figures(counts: PledgeCounts) -> tuple[Figure, ...]:
    given = counts.given_ms / HOUR_MS
    return (
        Figure("holding", "Pledges that hold", wording.count(counts.holding), counts.holding, f"of {wording.count(counts.pledges)} known"),
        Figure("hours_a_week", "Hours pledged a week", wording.count(counts.hours), counts.hours, "by those that say hours"),
        Figure("given_ms", "Hours given", f"{given:,.1f}", counts.given_ms, "to those that hold"),
    )  # fmt: skip


def _row(view: ComputePledgeView) -> tuple[Cell, ...]:
    weekly = view.given_hours_a_week
    kept = None if not view.hours else min(weekly / view.hours, 1.0)
    return (
        did(view.provider, paths.operator(view.provider)),
        Cell("this lab" if view.purpose is None else wording.shown(view.purpose, 80), view.purpose),
        _pledged(view),
        Cell(f"{weekly:,.1f} h", weekly, share=kept),
        Cell(f"{view.given_ms / HOUR_MS:,.1f} h", view.given_ms),
        Cell(wording.count(view.works), view.works),
        Cell(wording.compact(view.tokens), view.tokens),
        Cell(wording.moment(view.at_ms), view.at_ms),
        _stands(view),
        entry(view.entry),
    )


def _pledged(view: ComputePledgeView) -> Cell:
    if view.hours is not None:
        return Cell(f"{wording.count(view.hours)} h a week", view.hours)
    share = (view.share or 0) / MILLION
    return Cell(
        f"{share:.4g} of its time" if share < 0.01 else f"{wording.share(share)} of its time",
        view.share,
    )


def _stands(view: ComputePledgeView) -> Cell:
    if view.withdrawn_ms is not None:
        return Cell(f"withdrawn {wording.moment(view.withdrawn_ms)}", "withdrawn", tone="quiet")
    until = wording.moment(view.until_ms)
    if view.holds:
        return Cell(f"holds until {until}", "holds", tone="good")
    return Cell(f"over since {until}", "over", tone="quiet")
