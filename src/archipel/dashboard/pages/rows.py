"""Rows of tables that several pages show: runs, nodes, audits, waits. Pure."""

from collections.abc import Sequence

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.value import Cell, Column, Pager, Table, Tone
from archipel.dashboard.run_words import version_words
from archipel.records.documents import NodeView, RunView, Wait
from archipel.records.page_documents import AuditView, OperatorView

PHASE_TONES: dict[str, Tone] = {"complete": "good", "stopped": "quiet", "paused": "warn"}
VERDICT_TONES: dict[str, Tone] = {
    "verified": "good",
    "soft": "bad",
    "hard": "bad",
    "lapsed": "quiet",
}


def did(key: str | None, to: str = "") -> Cell:
    """A key, by its end."""
    if not key:
        return Cell(wording.UNKNOWN)
    return Cell(wording.short_did(key), key, to, title=wording.shown(key, 200))


def entry(number: int | None) -> Cell:
    """An entry of the ledger that proves the row."""
    if number is None:
        return Cell(wording.UNKNOWN)
    return Cell(f"#{number}", number, paths.entry(number))


def runs_table(runs: Sequence[RunView], where: Pager | None = None, id_: str = "runs") -> Table:
    """How runs stand, a row each."""
    columns = (
        Column("run"), Column("phase"), Column("version", True), Column("reward", True),
        Column("learner busy", True), Column("credits", True), Column("opened"),
    )  # fmt: skip
    rows = tuple(_run(each) for each in runs)
    return Table(
        id_, "Runs, the newest first", columns, rows, "No run was opened yet.", pager=where
    )


def _run(run: RunView) -> tuple[Cell, ...]:
    far = None if run.version < 0 or not run.versions else run.version / run.versions
    return (
        Cell(wording.shown(run.run), run.run, paths.run(run.run)),
        Cell(run.phase, tone=PHASE_TONES.get(run.phase, "plain")),
        Cell(version_words(run.version, run.versions), run.version, share=far),
        Cell(wording.UNKNOWN if run.reward is None else f"{run.reward:.3f}", run.reward),
        Cell(wording.share(run.learner_utilisation), run.learner_utilisation),
        Cell(wording.amount(run.spent_micro), run.spent_micro),
        Cell(wording.moment(run.opened_at_ms), run.opened_at_ms),
    )


def state_of(node: NodeView, is_lab: bool) -> tuple[str, Tone]:
    """In a word: works, here, silent, gone; a replica does not know who is silent."""
    if not node.present:
        return "gone", "quiet"
    if node.paused is not None:
        return "paused", "warn"
    if node.leases:
        return "works", "good"
    if is_lab and node.silent_s > SILENT_S:
        return "silent", "warn"
    return "here", "plain"


SILENT_S = 600.0


def nodes_table(
    nodes: Sequence[NodeView], is_lab: bool, caption: str, where: Pager | None = None, order: str = ""
) -> Table:  # fmt: skip
    """Totals of nodes, a row each; `order`: the word that the list is sorted by, empty where it cannot be."""
    columns = (
        Column("node"), Column("state"), Column("operator"), Column("device"), Column("work", True, "work"),
        Column("tokens", True), Column("units/s", True), Column("credits", True, "earned"), Column("stake", True),
        Column("ran out", True), Column("heard", True),
    )  # fmt: skip
    path = paths.path("nodes") if order else ""
    rows = tuple(_node(each, is_lab) for each in nodes)
    return Table("nodes", caption, columns, rows, "No node joined yet.", "", where, order, path)


def _node(node: NodeView, is_lab: bool) -> tuple[Cell, ...]:
    state, tone = state_of(node, is_lab)
    heard = wording.span(node.silent_s) + " ago" if is_lab else wording.UNKNOWN
    owner = node.operator or node.node
    return (
        did(node.node, paths.node(node.node)),
        Cell(state, tone=tone),
        did(owner, paths.operator(owner)) if node.operator else Cell("its own", tone="quiet"),
        Cell(wording.shown(node.device, 40), node.device, title=wording.shown(node.engine, 80)),
        Cell(wording.count(node.groups), node.groups),
        Cell(wording.compact(node.tokens), node.tokens),
        Cell(f"{node.groups_per_s:.2f}", node.groups_per_s),
        Cell(wording.amount(node.credit_micro), node.credit_micro),
        Cell(wording.amount(node.stake_micro), node.stake_micro),
        Cell(wording.count(node.expired), node.expired),
        Cell(heard, node.silent_s if is_lab else None),
    )


def operators_table(found: Sequence[OperatorView], where: Pager | None = None) -> Table:
    """Who answers for nodes, a row each."""
    columns = (
        Column("operator"), Column("nodes", True), Column("work", True), Column("tokens", True),
        Column("wallet", True), Column("stake", True), Column("right", True), Column("wrong", True), Column("standing"),
    )  # fmt: skip
    rows = tuple(_operator(each) for each in found)
    return Table(
        "operators", "Operators, by what they hold", columns, rows, "No operator yet.", pager=where
    )


def _operator(known: OperatorView) -> tuple[Cell, ...]:
    barred = known.quarantined_by
    return (
        did(known.operator, paths.operator(known.operator)),
        Cell(wording.count(known.num_nodes), known.num_nodes),
        Cell(wording.count(known.groups), known.groups),
        Cell(wording.compact(known.tokens), known.tokens),
        Cell(wording.amount(known.wallet_micro), known.wallet_micro),
        Cell(wording.amount(known.stake_micro), known.stake_micro),
        Cell(wording.count(known.verified), known.verified),
        Cell(wording.count(known.refuted), known.refuted, tone="bad" if known.refuted else "plain"),
        Cell("barred", tone="bad", title=wording.shown(barred, 120))
        if barred
        else Cell("in good standing"),
    )


def audits_table(found: Sequence[AuditView], where: Pager | None = None) -> Table:
    """Answers that were looked at again, with what was found."""
    columns = (
        Column("work"), Column("run"), Column("node"), Column("stage"), Column("verdict"), Column("reason"),
        Column("lost", True), Column("answered", True), Column("drawn"), Column("closed"),
    )  # fmt: skip
    rows = tuple(_audit(each) for each in found)
    caption = "Audits, open ones first, then the newest"
    return Table("audits", caption, columns, rows, "No answer was audited yet.", pager=where)


def _audit(case: AuditView) -> tuple[Cell, ...]:
    verdict = case.verdict or "open"
    return (
        Cell(wording.shown(case.work, 24), case.work, title=wording.shown(case.kind, 40)),
        Cell(wording.shown(case.run), case.run, paths.run(case.run)),
        did(case.node, paths.node(case.node)),
        Cell(wording.words(case.stage)),
        Cell(wording.words(verdict), case.verdict, tone=VERDICT_TONES.get(verdict, "plain")),
        Cell(wording.shown(case.reason) or wording.UNKNOWN, case.reason),
        Cell(
            wording.amount(case.slashed_micro) if case.slashed_micro else wording.UNKNOWN,
            case.slashed_micro,
        ),
        entry(case.answered),
        _when(case.drawn_ms),
        _when(case.closed_ms),
    )


def _when(at_ms: int | None) -> Cell:
    return Cell(wording.UNKNOWN if at_ms is None else wording.moment(at_ms), at_ms)


def waits_table(waits: Sequence[Wait]) -> Table:
    """What runs wait for, whose it is, and what to do."""
    columns = (
        Column("run"), Column("waits for"), Column("who can end it"), Column("left", True), Column("what to do"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(wording.shown(each.run), each.run, paths.run(each.run)),
            Cell(wording.shown(each.waiting_for)),
            Cell(wording.short_did(each.owner) if each.owner.startswith("did:") else wording.shown(each.owner), each.owner),
            Cell(wording.UNKNOWN if each.left_s is None else wording.span(max(each.left_s, 0)), each.left_s),
            Cell(wording.shown(each.advice)),
        )
        for each in waits
    )  # fmt: skip
    return Table("waits", "What is waited for", columns, rows, "Nothing is waiting.")
