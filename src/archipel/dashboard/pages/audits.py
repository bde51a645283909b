"""Audits of all runs, or of one: what was looked at again, what was found, and why. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight, pager
from archipel.dashboard.pages.rows import audits_table
from archipel.dashboard.pages.value import Figure, Link, Page, Section


def audits(sight: Sight) -> Page:
    """`/pages/audits`, perhaps of one run.

    Raises:
        NotThere: no run has the name that was asked for.
    """
    name, start, where = sight.query.get("run", ""), sight.number("start"), paths.path("audits")
    if name and sight.look.run(name) is None:
        raise NotThere(
            f"no run here is called {wording.shown(name, 80)}; /pages/audits has the audits of all"
        )
    found = list(sight.look.audits(start, paths.ROWS + 1, run=name or None))
    shown = found[: paths.ROWS]
    table = audits_table(shown, pager(where, start, shown, len(found) > paths.ROWS, run=name))
    counts = sight.look.counts()
    title = f"Audits of {wording.shown(name)}" if name else "Audits"
    words = (
        "Answers are drawn by the ledger after they were given, made again by others, and paid back where they were wrong.",
    )
    return Page(
        title, paths.asked(where, run=name), "audits", sight.look.size,
        crumbs=(Link("Audits", where),) if name else (),
        figures=(Figure("open_cases", "Open audits", wording.count(counts.open_cases), counts.open_cases, "of all runs"),),
        sections=(
            Section("all", "Cases", words, tables=(table,)),
            Section("check", "Check it yourself", ("Fold the ledger, and come to the same verdicts:",), code=("archipel audits --lab URL",)),
        ),
    )  # fmt: skip
