"""What a lease of a run with a market is paid, and who is given one. Pure; parts of `decide` and `apply`.

1. Before the first round that bought of an operator that was measured, and after one that did not: the recipe's posted
   price, to all. Who comes to a new run is measured by it; a round of newcomers alone would let nobody else work.
2. After it, a node with an award: its award's price for each verified token; of several lots the mean, rounded down.
   An award says at what price a node works, not how much: that its speed and the learner's need say.
3. A node without one: nothing, unless it is of an operator that nobody has measured and the newcomers' share of the
   groups in nodes' hands has room: then a part of the clearing price.
4. While the learner waits although the awards should feed it (`standby.is_starved`): whoever else bid within the reserve
   works at its own ask, and newcomers beyond their share. Who wins by asking next to nothing and then delivers nothing
   cannot keep a run from going on, nor can a round that bought of the few who were measured in a run's first period.
An award ends with the next clearing, with a verdict, or when its node leaves.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from archipel.lab.markets import Cleared, RunMarket, price_of, without
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.qualities import KIND, is_newcomer, quality_of
from archipel.lab.rules import Rules
from archipel.lab.standby import is_starved, why_held_back
from archipel.lab.state import LabState, Lease, Run
from archipel.records.changed import changed
from archipel.records.recipe_market import MICRO
from archipel.records.statements import LeaseGranted
from archipel.records.words import WorkSpec


@dataclass(frozen=True, slots=True)
class Price:
    """Of a lease."""

    micro: int
    """Held from its grant on; the most that it may come to."""
    per_million_micro: int | None = None
    """Micro-credits per million verified tokens; None: all of `micro` is paid."""
    explores: bool = False
    """Out of the newcomers' share."""


def in_force(state: LabState, run: Run) -> Cleared | None:
    """What a run's last round came to, if it says what leases are paid; None: they are paid the posted price."""
    market: RunMarket | None = state.markets.get(run.name)
    last = None if market is None else market.last
    return last if last is not None and last.rules else None


def is_traded(run: Run, kind: str) -> bool:
    """Whether work of this kind has a market in this run."""
    return kind == KIND and run.opened.pace.market is not None


def price(
    state: LabState, run: Run, did: str, rules: Rules, spec: WorkSpec, now_ms: int
) -> Price | None:
    """What this node is paid for this work; None: nothing is bought of it now."""
    posted = rules.price_micro(run, spec)
    rate = rate_micro(state, run, did, rules.name, now_ms)
    if rate is None:
        return None if in_force(state, run) and rules.name == KIND else Price(posted)
    most = -(-rate * rules.most_tokens(run, spec) // MICRO)
    last = in_force(state, run)
    explores = last is not None and did not in last.awards and is_newcomer(state, run, did)
    return Price(most, rate, explores)


def checked(state: LabState, granted: LeaseGranted, rules: Rules, at_ms: int) -> Price:
    """What a lease that the lab granted is paid.

    Raises:
        ValueError: another price than its run's market has found, or work for whom it buys nothing of.
    """
    run, told = state.runs[granted.spec.run], (granted.price_micro, granted.per_million_micro)
    if not is_traded(run, rules.name):
        if granted.per_million_micro is not None:
            raise ValueError(f"{granted.work} is paid by the token; expected a run with a market")
        return Price(granted.price_micro)
    found = price(state, run, granted.node, rules, granted.spec, at_ms)
    if found is None or told != (found.micro, found.per_million_micro):
        expected = "nothing: none is bought of it" if found is None else found
        raise ValueError(f"{granted.work} for {granted.node} at {told}; expected {expected}")
    return found


def is_bought(state: LabState, run: Run, did: str, kind: str, now_ms: int) -> bool:
    """Whether anything of this kind is bought of this node now."""
    if kind != KIND or in_force(state, run) is None:
        return True
    return rate_micro(state, run, did, kind, now_ms) is not None


def is_on_hold(state: LabState, did: str, now_ms: int) -> bool:
    """Whether no live run buys of this node, works without it, or has room for newcomers, where it is one: until a round
    is cleared, who works is decided anew, another run is opened, newcomers find room, or work of another kind is due,
    nothing changes that.
    """
    for name in state.live:
        run = state.runs[name]
        last = in_force(state, run)
        is_bought = last is None or did in last.awards
        is_bought = is_bought or _spare_micro(state, run, did, now_ms) is not None
        if is_bought and why_held_back(run, did, now_ms) is None:
            return False
        if last is not None and _has_room(state, run, now_ms) and is_newcomer(state, run, did):
            return False
    return bool(state.live)


def takes_newcomers(state: LabState, now_ms: int) -> bool:
    """Whether a run's market has room for a node that nobody measured."""
    runs = (state.runs[name] for name in state.live if name in state.markets)
    return any(_has_room(state, run, now_ms) for run in runs)


def rate_micro(state: LabState, run: Run, did: str, kind: str, now_ms: int) -> int | None:
    """Micro-credits per million verified tokens that this node works at; None: it does not, or not by the token."""
    last = in_force(state, run)
    if last is None or kind != KIND:
        return None
    award = last.awards.get(did)
    if award is not None:
        return price_of(award)
    terms = run.opened.pace.market
    if terms is None or not is_newcomer(state, run, did):
        return _spare_micro(state, run, did, now_ms)
    if not _has_room(state, run, now_ms):
        return None
    return last.price_micro * terms.newcomer_permille // 1000


def _spare_micro(state: LabState, run: Run, did: str, now_ms: int) -> int | None:
    """The ask of a measured node that the last round did not buy, while those that it bought let the learner starve."""
    last, terms = in_force(state, run), run.opened.pace.market
    bid = None if last is None else last.book.get(did)
    if last is None or bid is None or terms is None or not is_starved(run, now_ms, last.at_ms):
        return None
    known = quality_of(state, run, did)
    is_within = known is not None and bid.price_micro * 1000 <= terms.reserve_micro * known
    return int(bid.price_micro) if is_within else None


def _has_room(state: LabState, run: Run, now_ms: int) -> bool:
    """Whether the newcomers' share of the groups in nodes' hands is not used up; one lease of theirs always fits, and
    any number while those who were bought let the learner starve.
    """
    terms, market = run.opened.pace.market, state.markets.get(run.name)
    if terms is None or market is None or not terms.explore_permille:
        return False
    taken = sum(market.exploring.values())
    in_flight = PROGRAMME_OF[run.opened.pace.programme].load(run)
    if not taken or taken * 1000 < in_flight * terms.explore_permille:
        return True
    last = in_force(state, run)
    return last is not None and is_starved(run, now_ms, last.at_ms)


def earned(lease: Lease, tokens: int, posted: int) -> int:
    """Of a lease's price, what an answer with so many verified tokens is paid; posted: without a market."""
    if lease.per_million_micro is None:
        return posted
    return min(lease.price_micro, lease.per_million_micro * tokens // MICRO)


def as_paid(lease: Lease, micro: int) -> Lease:
    """The lease as what follows of its answer is to see it: bought by the token, its price is what was paid."""
    return lease if lease.per_million_micro is None else changed(lease, price_micro=micro)


def begun(state: LabState, name: str, work: str, size: int, bought: Price) -> LabState:
    """With a lease that was granted counted, if it is out of the newcomers' share."""
    if not bought.explores:
        return state
    market = state.markets[name]
    return _with(state, name, changed(market, exploring=market.exploring.put(work, size)))


def over(state: LabState, name: str, work: str) -> LabState:
    """With a lease that has ended counted no more."""
    market = state.markets.get(name)
    if market is None or work not in market.exploring:
        return state
    return _with(state, name, changed(market, exploring=market.exploring.drop(work)))


def ended(state: LabState, dids: Iterable[str]) -> LabState:
    """Without the awards of these nodes: they left, or a verdict went against whose they are."""
    gone = set(dids)
    for name in state.live:
        market: RunMarket | None = state.markets.get(name)
        last = None if market is None else market.last
        if market is None or last is None:
            continue
        lost = [did for did in gone if did in last.awards]
        if lost:
            state = _with(state, name, changed(market, last=without(last, lost)))
    return state


def _with(state: LabState, name: str, market: RunMarket) -> LabState:
    return changed(state, markets=state.markets.put(name, market))
