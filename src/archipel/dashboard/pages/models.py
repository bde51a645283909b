"""Releases: signed folders of models, how open they are by their bytes, whose they are, what they learned from. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight, pager
from archipel.dashboard.pages.rows import did
from archipel.dashboard.pages.value import Cell, Column, Figure, Link, Notice, Page, Section, Table
from archipel.records.page_documents import ReleaseView

MILLION = 1_000_000
MOST_SHARES = 50
_HOW = (
    "archipel release verify FOLDER",
    "archipel release openness FOLDER",
    "archipel trace FOLDER",
)


def models(sight: Sight) -> Page:
    """`/pages/models`."""
    start, where = sight.number("start"), paths.path("models")
    shown = sight.releases[start : start + paths.ROWS]
    columns = (
        Column("model"),
        Column("run"),
        Column("openness"),
        Column("files"),
        Column("size", True),
        Column("signed by"),
        Column("made"),
    )
    rows = tuple(_row(each, _run_path(sight, each)) for each in shown)
    table = Table(
        "models",
        "Releases, by name",
        columns,
        rows,
        "No release is shown here: `archipel lab start --releases DIR` shows those of a folder.",
        pager=pager(where, start, shown, len(sight.releases) > start + paths.ROWS),
    )
    return Page(
        "Models",
        where,
        "models",
        sight.look.size,
        sections=(Section("all", "Releases", tables=(table,)),),
    )


def _run_path(sight: Sight, view: ReleaseView) -> str:
    """Of the run that it was made by; empty where this lab knows none of that name, as of a release made elsewhere."""
    return paths.run(view.run) if view.run and sight.look.run(view.run) is not None else ""


def _row(view: ReleaseView, run: str) -> tuple[Cell, ...]:
    grades = ", ".join(
        f"{wording.shown(scheme, 40)}: {wording.shown(grade, 40)}"
        for scheme, grade in view.openness
    )
    return (
        Cell(wording.shown(view.name), view.name, paths.model(view.name)),
        Cell(wording.shown(view.run), view.run, run) if view.run else Cell(wording.UNKNOWN),
        Cell(grades or wording.UNKNOWN),
        Cell("as signed" if view.holds else "not as signed", tone="good" if view.holds else "bad"),
        Cell(wording.octets(view.size_bytes), view.size_bytes),
        did(view.signed_by),
        Cell(_made(view), view.made_ms or None),
    )


def model(sight: Sight, name: str) -> Page:
    """`/pages/models/NAME`.

    Raises:
        NotThere: no release has this name.
    """
    view = next((each for each in sight.releases if each.name == name), None)
    if view is None:
        raise NotThere(
            f"no release here is called {wording.shown(name, 80)}; /pages/models has them all"
        )
    tables = [
        Table("openness", "How open it is, computed from its bytes", (Column("scheme"), Column("class")),
              tuple((Cell(wording.shown(scheme)), Cell(wording.shown(grade))) for scheme, grade in view.openness), "Not graded."),
    ]  # fmt: skip
    parents = tuple((Cell(wording.shown(each)),) for each in view.parents)
    if parents:
        tables.append(Table("parents", "What it was made from", (Column("model"),), parents))
    sections = (
        Section("openness", "Openness", tables=tuple(tables)),
        Section("shares", "Whose it is", tables=(_parts("holders", "Shares that were issued", "owner", view.shares),)),
        Section("trace", "What its weights learned from", ("Counted and quoted, never a cause.",), tables=(_parts("shaped", "By weight in the gradient", "who", view.shaped_by),)),
        Section("check", "Check it yourself", code=_HOW),
    )  # fmt: skip
    return Page(
        wording.shown(view.name), paths.model(view.name), "models", sight.look.size,
        crumbs=(Link("Models", paths.path("models")),),
        figures=_figures(view, _run_path(sight, view)),
        notices=tuple(Notice(wording.shown(each), "bad") for each in view.problems),
        sections=sections,
    )  # fmt: skip


def _figures(view: ReleaseView, run: str) -> tuple[Figure, ...]:
    return (
        Figure("holds", "Files", "as signed" if view.holds else "not as signed", "yes" if view.holds else "no", f"{view.files} files", tone="good" if view.holds else "bad"),
        Figure("size_bytes", "Size", wording.octets(view.size_bytes), view.size_bytes),
        Figure("made_ms", "Made", _made(view), view.made_ms or None),
        Figure("signed_by", "Signed by", wording.short_did(view.signed_by), view.signed_by),
        Figure("run", "Run", wording.shown(view.run) if view.run else wording.UNKNOWN, view.run, "" if view.version is None else f"version {view.version}", to=run),
    )  # fmt: skip


def _made(view: ReleaseView) -> str:
    """When its index says so; unknown of a folder whose index cannot be read."""
    return wording.moment(view.made_ms) if view.made_ms else wording.UNKNOWN


def _parts(id_: str, caption: str, who: str, parts: tuple[tuple[str, int], ...]) -> Table:
    rows = tuple(
        (
            did(name, paths.operator(name))
            if name.startswith("did:")
            else Cell(wording.shown(name)),
            Cell(f"{part / MILLION:.2%}", part, share=min(max(part / MILLION, 0.0), 1.0)),
        )
        for name, part in parts[:MOST_SHARES]
    )
    more = len(parts) - len(rows)
    return Table(
        id_,
        caption,
        (Column(who), Column("share", True)),
        rows,
        "Not told.",
        f"and {more} more" if more > 0 else "",
    )
