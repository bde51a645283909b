"""All nodes, and one node: what it can, what it did, what it holds. Pure."""

from collections.abc import Sequence

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight, pager
from archipel.dashboard.pages.rows import did, nodes_table, state_of
from archipel.dashboard.pages.value import Cell, Column, Figure, Link, Page, Section, Table
from archipel.dashboard.run_words import place_words
from archipel.records.documents import LeaseView, NodeView
from archipel.records.page_documents import NodeOrder

ORDERS: tuple[NodeOrder, ...] = ("joined", "earned", "work")
MOST_LEASES = 24


def nodes(sight: Sight) -> Page:
    """`/pages/nodes`."""
    start, by = sight.number("start"), sight.word("by", ORDERS)
    order = next(each for each in ORDERS if each == by)
    found = list(sight.look.nodes(start, paths.ROWS + 1, by=order))
    shown, where = found[: paths.ROWS], paths.path("nodes")
    turn = pager(where, start, shown, len(found) > paths.ROWS, by="" if by == ORDERS[0] else by)
    table = nodes_table(shown, sight.source.is_lab, f"Nodes, by {_ORDER_WORDS[order]}", turn, order)
    counts = sight.look.counts()
    lead = f"{wording.count(counts.here)} here, {wording.count(counts.nodes)} known"
    return Page(
        "Nodes",
        where,
        "nodes",
        sight.look.size,
        lead,
        sections=(Section("all", "All nodes", tables=(table,)),),
    )


_ORDER_WORDS: dict[NodeOrder, str] = {
    "joined": "when they joined",
    "earned": "what they hold",
    "work": "work accepted",
}


def node(sight: Sight, key: str) -> Page:
    """`/pages/nodes/DID`.

    Raises:
        NotThere: no node has this key.
    """
    view = sight.look.node(key)
    if view is None:
        raise NotThere(
            f"no node here has the key {wording.shown(key, 80)}; /pages/nodes has them all"
        )
    owner = view.operator or view.node
    leases = sight.look.leases(key)[:MOST_LEASES]
    sections = [
        Section("facts", "What it is", tables=(_facts(view, owner),)),
        Section("places", "What it is to runs", tables=(_places(view),)),
        Section("leases", "Open leases", tables=(_leases(leases),)),
    ]
    return Page(
        f"Node {wording.short_did(key)}", paths.node(key), "nodes", sight.look.size, wording.shown(key, 80),
        crumbs=(Link("Nodes", paths.path("nodes")),),
        figures=_figures(sight, view), sections=tuple(sections),
    )  # fmt: skip


def _figures(sight: Sight, view: NodeView) -> tuple[Figure, ...]:
    state, tone = state_of(view, sight.source.is_lab)
    joined = sight.look.joined(view.node)
    heard = f"heard of {wording.span(view.silent_s)} ago" if sight.source.is_lab else ""
    return (
        Figure("state", "State", state, state, heard, tone=tone),
        Figure("groups", "Work accepted", wording.count(view.groups), view.groups, "units"),
        Figure("tokens", "Tokens", wording.compact(view.tokens), view.tokens),
        Figure("groups_per_s", "Speed", f"{view.groups_per_s:.2f}", view.groups_per_s, "units a second"),
        Figure("bytes_in", "Sent in", wording.octets(view.bytes_in), view.bytes_in),
        Figure("credit_micro", "Credits", wording.amount(view.credit_micro), view.credit_micro, f"{wording.amount(view.stake_micro)} of it at stake"),
        Figure("expired", "Leases that ran out", wording.count(view.expired), view.expired, f"{wording.count(view.returned)} given back", tone="warn" if view.expired else "plain"),
        Figure("joined_ms", "Joined", wording.UNKNOWN if joined is None else wording.moment(joined), joined),
    )  # fmt: skip


def _facts(view: NodeView, owner: str) -> Table:
    told = [
        ("kinds of work", ", ".join(view.kinds)), ("engine", view.engine), ("device", view.device),
        ("batch-invariant", "yes" if view.batch_invariant else "no"),
        ("exact contracts", ", ".join(view.exact)), ("samples by", ", ".join(view.classes)), ("plays", ", ".join(view.plays)),
        ("libraries", ", ".join(view.backends)), ("protections", ", ".join(view.protections)),
    ]  # fmt: skip
    rows = [(Cell(name), Cell(wording.shown(text), text)) for name, text in told if text]
    rows.append(
        (
            Cell("operator"),
            did(owner, paths.operator(owner))
            if view.operator
            else Cell("its own", to=paths.operator(owner)),
        )
    )
    return Table("facts", "As it says of itself", (Column("what"), Column("is")), tuple(rows))


def _places(view: NodeView) -> Table:
    rows = tuple(
        (
            Cell(wording.shown(each.run), each.run, paths.run(each.run)),
            Cell(wording.shown(place_words(each).partition(": ")[2])),
        )
        for each in view.places
    )
    return Table(
        "places",
        "Runs that work with as many nodes as they need",
        (Column("run"), Column("it")),
        rows,
        "No run has measured it yet.",
    )


def _leases(leases: Sequence[LeaseView]) -> Table:
    columns = (
        Column("work"),
        Column("kind"),
        Column("version", True),
        Column("units", True),
        Column("age", True),
        Column("left", True),
    )
    rows = tuple(_lease(each) for each in leases)
    return Table("leases", "Work that it holds now", columns, rows, "It holds no work.")


def _lease(lease: LeaseView) -> tuple[Cell, ...]:
    return (
        Cell(wording.shown(lease.work, 24), lease.work),
        Cell(lease.kind),
        Cell(str(lease.version) if lease.version >= 0 else wording.UNKNOWN, lease.version),
        Cell(wording.count(lease.groups), lease.groups),
        Cell(wording.span(max(lease.age_s, 0)), lease.age_s),
        Cell(wording.span(max(lease.left_s, 0)), lease.left_s),
    )
