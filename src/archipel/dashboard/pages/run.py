"""One run: how far, how well, what for, what is wrong with it, and who worked. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from archipel.curves.concerns import GRAVE, concerns
from archipel.curves.history import Exam, History, exams_of, in_order
from archipel.curves.spells import over, spells_of
from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight
from archipel.dashboard.pages.owned import ownership_section
from archipel.dashboard.pages.pledges import pledges_section
from archipel.dashboard.pages.rows import audits_table, nodes_table, waits_table
from archipel.dashboard.pages.run_charts import run_charts
from archipel.dashboard.pages.value import Cell, Column, Figure, Link, Notice, Page, Section, Table
from archipel.dashboard.run_words import (
    capacity_words,
    credit_words,
    exam_words,
    progress_words,
    version_words,
)
from archipel.dashboard.series import Measured
from archipel.records.capacity import PlaceView
from archipel.records.documents import RunView

MOST_EXAMS, MOST_AUDITS, MOST_NODES = 12, 8, 12
NEWEST = 128
"""Versions that warnings are computed from."""


def run(sight: Sight, name: str) -> Page:
    """`/pages/runs/NAME`.

    Raises:
        NotThere: no run has this name.
    """
    view = sight.look.run(name)
    if view is None:
        raise NotThere(f"no run here is called {wording.shown(name, 80)}; /pages/runs has them all")
    history = history_of(view, sight.series.history(name, NEWEST))
    newest = sight.series.measured(name, 2)[-1:]
    opening = sight.look.opening(name)
    return Page(
        wording.shown(name), paths.run(name), "runs", sight.look.size, _lead(view),
        crumbs=(Link("Runs", paths.path("runs")),),
        figures=figures(view, history, newest, opening),
        notices=_notices(view, history),
        sections=tuple(_sections(sight, view, history, opening)),
        told_to=sight.series.size, has_series=True,
    )  # fmt: skip


def history_of(view: RunView, told: History) -> History:
    """A run's measurements as `curves` reads them: of the chronicle; its evaluations are the view's."""
    return replace(told, versions=view.versions, exams=exams_of(view.evaluations))


def _lead(view: RunView) -> str:
    parts = [
        view.phase,
        f"version {version_words(view.version, view.versions)}",
        f"opened {wording.moment(view.opened_at_ms)}",
    ]
    parts += [wording.shown(view.adapter)] if view.adapter else []
    return " · ".join(parts)


def figures(
    view: RunView, history: History, newest: Sequence[Measured], opening: int | None
) -> tuple[Figure, ...]:  # fmt: skip
    """What `run watch` shows of a run, by the same views."""
    proof = (newest[-1].entry,) if newest else ()
    opened = () if opening is None else (opening,)
    found = [
        Figure(
            "version",
            "Version",
            version_words(view.version, view.versions),
            view.version,
            view.phase,
            proof,
        ),
    ]
    if view.reward is not None:
        found.append(
            Figure(
                "reward",
                "Reward",
                f"{view.reward:.3f}",
                view.reward,
                "mean of the newest batch",
                proof,
            )
        )
    found += _exam_figures(history.exams)
    found += [
        Figure(
            "learner_utilisation", "Learner busy", wording.share(view.learner_utilisation), view.learner_utilisation,
            _every(view),
        ),
        Figure("spent_micro", "Credits", wording.amount(view.spent_micro), view.spent_micro, "paid or promised", opened),
    ]  # fmt: skip
    if view.left_micro is not None:
        note = f"of {wording.amount(view.funded_micro or 0)} set aside"
        found.append(
            Figure(
                "left_micro", "Credits left", wording.amount(view.left_micro), view.left_micro, note
            )
        )
    return tuple(found)


def _exam_figures(exams: tuple[Exam, ...]) -> list[Figure]:
    """The newest evaluation's first score."""
    if not exams:
        return []
    newest = exams[-1]
    for name, label in (("greedy", "Held-out accuracy"), ("loss", "Held-out loss")):
        if name in newest.values:
            value = newest.values[name]
            low, high = newest.values.get(f"{name}_low"), newest.values.get(f"{name}_high")
            band = "" if low is None or high is None else f"[{low:.3f}, {high:.3f}] "
            return [
                Figure(
                    f"exam_{name}",
                    label,
                    f"{value:.3f}",
                    value,
                    f"{band}at version {newest.version}",
                )
            ]
    return []


def _every(view: RunView) -> str:
    """How long a version takes on average since version 0."""
    if view.version < 1 or len(view.published_at_ms) < 2:
        return ""
    mean_s = (view.published_at_ms[-1] - view.published_at_ms[0]) / 1000 / view.version
    return f"a version every {mean_s:.1f} s"


def _notices(view: RunView, history: History) -> tuple[Notice, ...]:
    """Warnings and alarms in the words of `run show`."""
    found = concerns(history)
    told = [
        Notice(f"warning: {each.kind}: {each.text}", "bad" if each.kind in GRAVE else "warn")
        for each in found
    ]
    if passed := over(spells_of(history), [each.kind for each in found]):
        told.append(Notice(f"earlier: warnings of {', '.join(map(str, passed))}", "quiet"))
    told += [Notice(f"failing: {wording.shown(words)}", "bad") for words in view.troubles]
    told += [Notice(f"verdict: {wording.shown(words)}", "warn") for words in view.verdicts]
    return tuple(told)


def _sections(sight: Sight, view: RunView, history: History, opening: int | None) -> list[Section]:
    look = sight.look
    waits = look.waits(view.run)
    charts = run_charts(sight, view)
    sections = [
        Section("curves", "Curves", () if charts else ("Nothing was measured yet, or the chronicle has not read it yet.",), charts=charts),
        Section("facts", "Facts", tables=(_facts(view, opening), *_exams(history), *_newest(history))),
    ]  # fmt: skip
    if waits:
        sections.insert(0, Section("waiting", "Waiting", tables=(waits_table(waits),)))
    nodes = [
        each for each in look.nodes(0, paths.ROWS, by="work") if _works_for(each.places, view.run)
    ]
    if nodes:
        table = nodes_table(
            nodes[:MOST_NODES], sight.source.is_lab, "Nodes that this run was offered, by work"
        )
        words = tuple(wording.shown(each) for each in capacity_words(view.capacity))
        sections.append(Section("nodes", "Who works", words, tables=(table,)))
    elif view.capacity is not None:
        sections.append(Section("nodes", "Who works", tuple(capacity_words(view.capacity))))
    if look.market(view.run, 1) is not None:
        link = Link("Book, clearing and prices", paths.market(view.run))
        sections.append(
            Section("market", "Market", ("Its rollouts are bought at auction.",), links=(link,))
        )
    audits = look.audits(0, MOST_AUDITS, run=view.run)
    if audits:
        link = Link("All audits of this run", paths.asked(paths.path("audits"), run=view.run))
        sections.append(Section("audits", "Audits", tables=(audits_table(audits),), links=(link,)))
    owned, pledged = look.ownership(view.run, MOST_NODES), pledges_section(sight, view.run)
    sections += [] if pledged is None else [pledged]
    return [*sections, *([] if owned is None else [ownership_section(owned)])]


def _works_for(places: tuple[PlaceView, ...], name: str) -> bool:
    return any(each.run == name for each in places)


def _facts(view: RunView, opening: int | None) -> Table:
    told = [
        ("programme", view.programme), ("recipe", view.recipe),
        ("exact contract", view.exact), ("sampled by", view.sampled_by), ("trains", view.adapter),
        ("plays", view.plays), ("computed by", view.backend and f"{view.backend}: not batch-invariant"),
        ("progress", progress_words(view)), ("credits", credit_words(view)),
    ]  # fmt: skip
    rows = [(Cell(name), Cell(wording.shown(text), text)) for name, text in told if text]
    if opening is not None:
        rows.append((Cell("opened by"), Cell(f"entry #{opening}", opening, paths.entry(opening))))
    return Table("facts", "What this run is", (Column("what"), Column("is")), tuple(rows))


def _exams(history: History) -> list[Table]:
    if not history.exams:
        return []
    rows = tuple(
        (Cell(str(each.version), each.version), Cell(wording.shown(exam_words(each))))
        for each in history.exams[: -MOST_EXAMS - 1 : -1]
    )
    more = len(history.exams) - len(rows)
    note = f"and {more} earlier" if more > 0 else ""
    return [
        Table(
            "exams",
            "Evaluations on held-out tasks, the newest first, with 95% intervals",
            (Column("version", True), Column("scores")),
            rows,
            note=note,
        )
    ]


def _newest(history: History) -> list[Table]:
    values = history.points[-1].values if history.points else {}
    if not values:
        return []
    rows = tuple(
        (Cell(wording.words(name)), Cell(wording.number(values[name]), values[name]))
        for name in in_order(values)
    )
    caption = f"What version {history.points[-1].version} measured"
    return [Table("newest", caption, (Column("measurement"), Column("value", True)), rows)]
