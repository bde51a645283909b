"""The first page: a lab in a few numbers, its runs, what it waits for, how its ledger grows. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.charts import MOST
from archipel.dashboard.pages.pledges import HOUR_MS
from archipel.dashboard.pages.rows import nodes_table, runs_table, waits_table
from archipel.dashboard.pages.value import Chart, Figure, Line, Link, Page, Section
from archipel.plurals import counted
from archipel.records.page_documents import Counts

FEW = 8
_SHOWN_WAITS = 12


def overview(sight: Sight) -> Page:
    """`/pages/`."""
    look = sight.look
    counts, runs = look.counts(), look.runs(0, FEW)
    live = counts.live_runs
    lead = f"{counted(live, 'run')} under way, {counted(counts.here, 'node')} here"
    nodes = look.nodes(0, FEW, by="work")
    sections = [
        Section("runs-here", "Runs", tables=(runs_table(runs),), links=_more(counts.runs, "runs", "All runs")),
        Section("waiting", "Waiting", tables=(waits_table(look.waits()[:_SHOWN_WAITS]),)),
        Section(
            "nodes-here", "Nodes that work most",
            tables=(nodes_table(nodes, sight.source.is_lab, "By work accepted"),),
            links=_more(counts.nodes, "nodes", "All nodes"),
        ),
    ]  # fmt: skip
    growth = growth_chart(sight)
    if growth is not None:
        sections.append(
            Section(
                "growth",
                "Ledger",
                charts=(growth,),
                links=(Link("The ledger", paths.path("ledger")),),
            )
        )
    return Page(
        "Overview", paths.ROOT, "overview", look.size, lead,
        figures=(*_figures(counts, look.size), *_pledged(sight)), sections=tuple(sections),
        told_to=sight.series.size, has_series=True,
    )  # fmt: skip


def _more(known: int, where: str, text: str) -> tuple[Link, ...]:
    return (Link(f"{text} ({wording.count(known)})", paths.path(where)),) if known > FEW else ()


def _figures(counts: Counts, size: int) -> tuple[Figure, ...]:
    of = wording.count
    return (
        Figure("live_runs", "Runs under way", of(counts.live_runs), counts.live_runs, f"of {of(counts.runs)}", to=paths.path("runs")),
        Figure("here", "Nodes here", of(counts.here), counts.here, f"of {of(counts.nodes)} known", to=paths.path("nodes")),
        Figure("operators", "Operators", of(counts.operators), counts.operators, to=paths.path("operators")),
        Figure("leases", "Open leases", of(counts.leases), counts.leases),
        Figure("open_cases", "Open audits", of(counts.open_cases), counts.open_cases, to=paths.path("audits")),
        Figure("paid_micro", "Credits paid or promised", wording.amount(counts.paid_micro), counts.paid_micro),
        Figure("entries", "Ledger entries", of(size), size, to=paths.path("ledger"), entries=(size - 1,) if size else ()),
    )  # fmt: skip


def _pledged(sight: Sight) -> tuple[Figure, ...]:
    """Only where somebody pledged compute."""
    counts = sight.look.pledge_counts()
    if not counts.pledges:
        return ()
    note, to = f"{counts.given_ms / HOUR_MS:,.1f} h given", paths.path("pledges")
    return (Figure("pledges", "Pledges of compute", wording.count(counts.holding), counts.holding, note, to=to),)  # fmt: skip


def growth_chart(sight: Sight) -> Chart | None:
    """Entries of the ledger over time; None: nothing is told of it."""
    rows = sight.series.grown(MOST)
    if len(rows) < 2:
        return None
    return Chart(
        "growth", "Entries", "entries", "time", tuple(float(each.at_ms) for each in rows),
        (Line("entries", tuple(float(each.size) for each in rows)),),
        tuple(max(each.size - 1, 0) for each in rows), kind="steps",
    )  # fmt: skip
