"""All runs of a lab, a page at a time. Pure."""

from archipel.dashboard.pages import paths
from archipel.dashboard.pages.asked import Sight, pager
from archipel.dashboard.pages.rows import runs_table
from archipel.dashboard.pages.value import Page, Section


def runs(sight: Sight) -> Page:
    """`/pages/runs`."""
    start, where = sight.number("start"), paths.path("runs")
    found = list(sight.look.runs(start, paths.ROWS + 1))
    shown = found[: paths.ROWS]
    table = runs_table(shown, pager(where, start, shown, len(found) > paths.ROWS))
    return Page(
        "Runs",
        where,
        "runs",
        sight.look.size,
        sections=(Section("all", "All runs", tables=(table,)),),
    )
