"""Other labs whose mirrors are kept here, how each stands, and what it did that no honest lab does. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.value import Cell, Column, Figure, Notice, Page, Section, Table, Tone
from archipel.records.mirror_documents import (
    MAX_WORDS,
    STANDINGS,
    MirrorFault,
    MirrorView,
    Standing,
)

_TONES: dict[Standing, Tone] = {"silent": "warn", "followed": "good", "new": "quiet"}
"""The others are bad."""
_COLUMNS = (
    *(Column("Mirror"), Column("Lab"), Column("Stands"), Column("Entries", is_number=True)),
    *(Column("Newest head seen"), Column("Answered"), Column("Blobs")),
    *(Column("All of them up to entry", is_number=True), Column("Reason")),
)
_FAULT_COLUMNS = tuple(map(Column, ("Mirror", "Seen", "What", "Evidence")))


def mirrors(sight: Sight) -> Page:
    """`/pages/mirrors`."""
    views = sight.mirrors
    bad = [view for view in views if view.standing not in _TONES]
    faults = [(view, fault) for view in views for fault in reversed(view.faults)]
    return Page(
        "Mirrors", paths.path("mirrors"), "mirrors", sight.look.size,
        "Other labs, as this one has seen them: whoever continues one of them can do so from here.",
        figures=_figures(views),
        notices=(*map(_notice, bad), *(_goes_on(view) for view in views if view.continued)),
        sections=(
            Section("mirrors", "Labs", tables=(Table("mirrors", "Mirrors that are kept here", _COLUMNS, tuple(_row(view, sight.look.now_ms) for view in views),
                empty="No other lab is mirrored here: `archipel lab start --mirror URL` keeps one."),)),
            Section("faults", "What they did", tables=(Table("faults", "Forks, rollbacks and broken rules", _FAULT_COLUMNS, tuple(_fault(*each) for each in faults[: paths.ROWS]),
                empty="Nothing that no honest lab does was seen.", note="A file of evidence lies under /mirrors/NAME/evidence/; `archipel ledger evidence FILE` checks it."),)),
        ),
    )  # fmt: skip


def _figures(views: tuple[MirrorView, ...]) -> tuple[Figure, ...]:
    stands = [view.standing for view in views]
    good, silent = stands.count("followed"), stands.count("silent")
    kept = sum(view.blobs.kept_bytes for view in views)
    return (
        Figure("mirrors", "Mirrors", wording.count(len(views)), len(views)),
        Figure("followed", "Go on", wording.count(good), good),
        Figure("silent", "Silent", wording.count(silent), silent, tone="warn" if silent else "plain"),
        Figure("blob_bytes", "Blobs kept", wording.octets(kept), kept),
    )  # fmt: skip


def _notice(view: MirrorView) -> Notice:
    return Notice(f"the lab of mirror {view.name} {STANDINGS[view.standing]}", "bad")


def _goes_on(view: MirrorView) -> Notice:
    return Notice(f"mirror {view.name}: {wording.shown(view.continued, MAX_WORDS)}", "warn")


def _row(view: MirrorView, now_ms: int) -> tuple[Cell, ...]:
    text, tone = STANDINGS[view.standing], _TONES.get(view.standing, "bad")
    silent_s = max(now_ms - view.since_ms, 0) / 1000 if view.since_ms else 0.0
    text = f"{text} for {wording.span(silent_s)}" if view.standing == "silent" else text
    blobs = view.blobs
    return (
        Cell(view.name, title=wording.shown(view.url, 200)),
        Cell(wording.short_did(view.lab) if view.lab else wording.UNKNOWN, view.lab, title=wording.shown(view.lab, 80)),
        Cell(text, view.standing, tone=tone),
        Cell(wording.count(view.entries), view.entries),
        Cell(_at(view.head_ms), view.head_ms or None),
        Cell(_at(view.answered_ms), view.answered_ms or None),
        Cell(f"{wording.count(blobs.kept)} of {wording.count(blobs.wanted)}, {wording.octets(blobs.kept_bytes)}", blobs.kept),
        Cell(wording.count(view.complete), view.complete),
        Cell(wording.shown(view.reason, 200)),
    )  # fmt: skip


def _fault(view: MirrorView, fault: MirrorFault) -> tuple[Cell, ...]:
    over = "" if fault.over_ms is None else f"; it caught up at {wording.moment(fault.over_ms)}"
    return (
        Cell(view.name),
        Cell(wording.moment(fault.at_ms), fault.at_ms),
        Cell(
            f"{fault.kind}: {wording.shown(fault.words)}{over}",
            fault.kind,
            tone="quiet" if over else "bad",
        ),
        Cell(fault.evidence or wording.UNKNOWN),
    )


def _at(ms: int) -> str:
    return wording.moment(ms) if ms else wording.UNKNOWN
