"""All operators, and one: its machines, what it earned when, its disputes. Pure."""

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight, pager
from archipel.dashboard.pages.charts import Legend, over_time
from archipel.dashboard.pages.rows import audits_table, nodes_table, operators_table
from archipel.dashboard.pages.value import Chart, Figure, Link, Notice, Page, Section
from archipel.dashboard.series import By
from archipel.records.page_documents import OperatorView

STRETCHES: tuple[By, ...] = ("hour", "minute", "day")
MOST_BARS = 120
MOST_AUDITS = 24


def operators(sight: Sight) -> Page:
    """`/pages/operators`."""
    start, where = sight.number("start"), paths.path("operators")
    found = list(sight.look.operators(start, paths.ROWS + 1))
    shown = found[: paths.ROWS]
    table = operators_table(shown, pager(where, start, shown, len(found) > paths.ROWS))
    return Page(
        "Operators",
        where,
        "operators",
        sight.look.size,
        sections=(Section("all", "All operators", tables=(table,)),),
    )


def operator(sight: Sight, key: str) -> Page:
    """`/pages/operators/DID`.

    Raises:
        NotThere: nobody of this key answers for a node.
    """
    known = sight.look.operator(key)
    if known is None:
        raise NotThere(
            f"no operator here has the key {wording.shown(key, 80)}; /pages/operators has them all"
        )
    by, start, where = sight.word("by", STRETCHES), sight.number("start"), paths.operator(key)
    machines = list(sight.look.nodes(start, paths.ROWS + 1, by="earned", operator=key))
    shown = machines[: paths.ROWS]
    turn = pager(where, start, shown, len(machines) > paths.ROWS)
    chart = earnings_chart(sight, key, next(each for each in STRETCHES if each == by))
    disputes = sight.look.audits(0, MOST_AUDITS, operator=key)
    links = tuple(
        Link(f"by {each}", paths.asked(where, by=each)) for each in STRETCHES if each != by
    )
    earned = (
        ()
        if chart is not None
        else ("Nothing was earned yet, or the chronicle has not read it yet.",)
    )
    return Page(
        f"Operator {wording.short_did(key)}", where, "operators", sight.look.size, wording.shown(key, 80),
        crumbs=(Link("Operators", paths.path("operators")),),
        figures=_figures(sight, known),
        notices=(Notice(f"barred by the verdict on {wording.shown(known.quarantined_by, 120)}", "bad"),) if known.quarantined_by else (),
        sections=(
            Section("earnings", f"Earnings by {by}", earned, charts=(chart,) if chart is not None else (), links=links),
            Section("machines", "Machines", tables=(nodes_table(shown, sight.source.is_lab, "Its nodes, by what they hold", turn),)),
            Section("disputes", "Audits and disputes", tables=(audits_table(disputes),)),
        ),
        told_to=sight.series.size, has_series=True,
    )  # fmt: skip


def _figures(sight: Sight, known: OperatorView) -> tuple[Figure, ...]:
    first = sight.series.first_pay((known.operator,))
    paid = () if first is None else (first.first_entry,)
    since = wording.UNKNOWN if first is None else wording.moment(first.at_ms)
    return (
        Figure("num_nodes", "Nodes", wording.count(known.num_nodes), known.num_nodes),
        Figure("groups", "Work accepted", wording.count(known.groups), known.groups, "units"),
        Figure("tokens", "Tokens", wording.compact(known.tokens), known.tokens),
        Figure("wallet_micro", "Wallet", wording.amount(known.wallet_micro), known.wallet_micro, "credits"),
        Figure("stake_micro", "At stake", wording.amount(known.stake_micro), known.stake_micro, "credits"),
        Figure("verified", "Found right", wording.count(known.verified), known.verified, "by audits"),
        Figure("refuted", "Found wrong", wording.count(known.refuted), known.refuted, "by audits", tone="bad" if known.refuted else "plain"),
        Figure("first_pay_ms", "First paid", since, None if first is None else first.at_ms, entries=paid),
    )  # fmt: skip


def earnings_chart(sight: Sight, key: str, by: By) -> Chart | None:
    """What an operator was paid, by minute, hour or day; None: nothing."""
    rows = sight.series.earned((key,), by, MOST_BARS)
    legend = Legend(
        "earnings",
        f"Credits earned a {by}",
        "credits",
        (("", "earned"),),
        "Pay for accepted work, less what verdicts took back.",
    )
    return over_time(legend, rows, is_bars=True)
