"""What a market knows of its bidders, and how much it wants: qualities as measured, lots that keep the learner busy. Pure.

Law: both follow from the state at the opening of a round, so whoever folds the ledger finds the same.
"""

from collections import Counter
from collections.abc import Iterable

from archipel.lab.markets import RunMarket
from archipel.lab.programmes import rl
from archipel.lab.providers import account_of, keys_of, standing_of
from archipel.lab.standby import demand_of
from archipel.lab.state import LabState, Node, Run
from archipel.market.health import Measured, quality
from archipel.market.journal import stake, wallet
from archipel.market.provisioning import CannotProvide, Pace, required_rate_micro
from archipel.records.kinds.rollout import WORDS
from archipel.records.recipe_market import MAX_LOTS, MarketTerms
from archipel.records.table import Table

KIND = WORDS.name
"""What is traded: rollouts, by the verified output token."""
HEADROOM_PERMILLE = 1500
"""Lots wanted, of those that the learner needs: who leaves or turns out slow is replaced before the next round."""


def qualities(state: LabState, run: Run) -> Table[str, int]:
    """Operator -> per-mille of what it promises that arrives; newcomers (`is_newcomer`) are not in it.

    Looks at every node.
    """
    nodes: dict[str, list[Node]] = {}
    for did, node in state.nodes.items():
        if _has_deposit(state, run, did):
            nodes.setdefault(account_of(state, did), []).append(node)
    found = ((operator, _quality(state, run, own)) for operator, own in nodes.items())
    return Table({operator: known for operator, known in found if known is not None})


def quality_in(state: LabState, opening: Table[str, int], did: str) -> int | None:
    """Of whoever this node is, in `opening`: as measured when a round was opened; None for a newcomer.

    Who came to an operator since, is known for what it was known for under its own key: a new operator makes no newcomer.
    """
    own = opening.get(account_of(state, did))
    if own is not None:
        return int(own)
    return min((int(opening[key]) for key in keys_of(state, did) if key in opening), default=None)


def is_newcomer(state: LabState, run: Run, did: str) -> bool:
    """Whether nobody measured whoever this node is, or it has no deposit for a bid yet: a first lease or two may bring
    less than that, and who could neither bid nor be tried once more would be shut out for good.
    """
    return quality_of(state, run, did) is None or not _has_deposit(state, run, did)


def _has_deposit(state: LabState, run: Run, did: str) -> bool:
    """Whether its wallet and its stake are worth a deposit, or it holds one in the round that is open."""
    terms, owner = run.opened.pace.market, account_of(state, did)
    free = max(int(state.book.get(wallet(owner), 0)), 0) + int(state.book.get(stake(owner), 0))
    if terms is None or free >= terms.deposit_micro:
        return True
    market: RunMarket | None = state.markets.get(run.name)
    held = market.open.deposits if market is not None and market.open is not None else {}
    return any(key in held for key in keys_of(state, did))


def quality_of(state: LabState, run: Run, did: str) -> int | None:
    """The same of whoever this node is; None for a newcomer."""
    known = (state.nodes.get(key) for key in keys_of(state, did))
    return _quality(state, run, [node for node in known if node is not None])


def _quality(state: LabState, run: Run, nodes: list[Node]) -> int | None:
    """Where answers are audited, right is what audits found so; elsewhere, what was accepted."""
    tallies = [node.tallies[KIND] for node in nodes if KIND in node.tallies]
    works = sum(tally.works for tally in tallies)
    if not works:
        return None
    looked_at = right = works
    if run.opened.pace.audit is not None:
        known = standing_of(state, nodes[0].did)
        right = known.verified
        looked_at = known.verified + known.soft + known.hard
    late = sum(node.expired for node in nodes)
    return quality(Measured(looked_at, right, leased=works + late, in_time=works))


def is_able(run: Run, node: Node) -> bool:
    """Whether a node said that it does this run's rollouts at all."""
    need = run.opened.pace.needs
    return KIND in node.capabilities.kinds and (need is None or need in node.meets)


def lots_wanted(state: LabState, run: Run, terms: MarketTerms) -> int:
    """As the recipe says; else what keeps the learner busy, with headroom. Before its first update is measured: a lot
    for every able node but one that is here and had an answer accepted, so that they compete; joining costs nothing, and
    who only joined would raise the price for all. Looks at every node.
    """
    if terms.lots is not None:
        return terms.lots
    needed = needed_milli(run, terms)
    if needed is None:
        able = Counter(is_able(run, node) and KIND in node.tallies for node in _present(state))
        return min(max(able[True] - 1, 1), MAX_LOTS)
    lots = -(-needed * HEADROOM_PERMILLE // (1000 * terms.lot_milli))
    return min(max(lots, 1), MAX_LOTS)


def _present(state: LabState) -> Iterable[Node]:
    here = (node for node in state.nodes.values() if node.present)
    return (node for node in here if node.did not in state.paused)


def needed_milli(run: Run, terms: MarketTerms) -> int | None:
    """Verified tokens per second times 1000 that keep the learner busy; None: it was not measured yet."""
    course, pace = rl.course(run), rl.pace(run)
    if run.version < 1 or not course.busy_ms or not course.num_groups:
        return None
    demand = demand_of(run)
    rollouts = demand.units * demand.parts if demand else pace.groups_per_update * pace.group_size
    each = max(course.num_tokens // (course.num_groups * pace.group_size), 1)
    train_ms = run.working.step_ms or max(course.busy_ms // run.version, 1)
    try:
        rate = required_rate_micro(Pace(train_ms, rollouts, 1, terms.utilisation_permille), 0)
    except CannotProvide:
        return None
    return -(-rate * each // 1000)
