"""What to do next, from what is known and the time: pure functions, priority is reading order.

A node that asks is offered the most urgent kind of work that is due, over all runs; several runs share
the nodes by how little each has in flight. Nothing here looks at all nodes or all leases for one record:
`crowds` and `forgettable` do, and are asked now and then.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from archipel.lab import awards, escrow, failures, quarantine, stakes
from archipel.lab.company import NOBODY, Crowds, is_active
from archipel.lab.kinds import RULES, RULES_OF
from archipel.lab.node_pauses import may_work
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import here_of, num_keys_of, seen, standing_of
from archipel.lab.rules import Asking, Copies, Rules
from archipel.lab.standby import is_held_back
from archipel.lab.state import LabState, Lease, Node, Phase, Run, ability
from archipel.records.changed import changed
from archipel.records.kinds import Spec
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseRequested,
)

MAX_OPEN_LEASES_PER_NODE = 4
MAX_OPEN_LEASES_UNPROVEN = 1
"""A node none of whose answers was accepted yet holds one work at a time."""
FAILURES = ("expired", "returned")
"""Ways in which a lease ends that say something of who held it."""


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A run that has work of a kind to hand out."""

    run: Run
    rules: Rules

    @property
    def ability(self) -> str:
        """What a node must be able to do."""
        return ability(self.rules.name, self.rules.needs(self.run))

    def most_micro(self, state: LabState) -> int | None:
        """The highest price that its run can pay for it; None: any."""
        return escrow.spendable_micro(state, self.run, is_audited=self.rules.audited)


def expired_leases(state: LabState, works: Iterable[str], now_ms: int) -> list[LeaseExpired]:
    """A statement for each of `works` whose deadline has passed, oldest first."""
    leases = [lease for work in works if (lease := state.leases.get(work)) is not None]
    return _taken_back(state, [each for each in leases if each.deadline_ms < now_ms], "deadline")


def lost_leases(state: LabState, request: LeaseRequested) -> list[LeaseExpired]:
    """A statement for every lease that its own node does not know of: the grant got lost."""
    node = state.nodes[request.author]
    lost = [state.leases[work] for work in node.leases if work not in request.holding]
    return _taken_back(state, lost, "lost")


def quarantined_leases(state: LabState) -> list[LeaseExpired]:
    """A statement for every lease of a node that is believed no more."""
    return _taken_back(state, quarantine.leases(state), "quarantine")


def _taken_back(
    state: LabState, leases: list[Lease], cause: Literal["deadline", "lost", "quarantine"]
) -> list[LeaseExpired]:
    leases.sort(key=lambda lease: (lease.deadline_ms, lease.work))
    first = next_seq(state)
    return [
        LeaseExpired(lab=state.lab, author=state.lab, seq=first + n, work=lease.work, cause=cause)
        for n, lease in enumerate(leases)
    ]


def opportunities(state: LabState) -> list[Opportunity]:
    """All that could be handed out now, most urgent first."""
    runs = [run for name in state.live if _hands_out(run := state.runs[name])]
    found = [
        Opportunity(run, rules)
        for rules in RULES
        for run in runs
        if rules.programme in (None, run.opened.pace.programme)
        and rules.due(run)
        and not (rules.audited and escrow.is_out(state, run))
    ]
    if len(found) > 1:
        order = {rules.name: place for place, rules in enumerate(RULES)}
        found.sort(key=lambda each: (order[each.rules.name], _load(each.run), each.run.name))
    return found


def _hands_out(run: Run) -> bool:
    return run.phase is not Phase.STOPPED and run.paused is None


def may_take(node: Node, kinds: Collection[str], opportunity: Opportunity) -> bool:
    """Whether this node could be given such work at all."""
    run, rules = opportunity.run, opportunity.rules
    need, memory_mb = rules.needs(run), run.opened.pace.memory_mb
    is_trusted = node.did in run.opened.trusted
    is_judge = is_trusted and rules.words.appeals
    return (
        rules.name in kinds
        and node.standing.quarantine is None
        and (is_judge or need is None or need in node.meets)
        and (is_trusted if rules.words.trusted else is_judge or node.holds(memory_mb))
    )


def grant(
    state: LabState,
    request: LeaseRequested,
    now_ms: int,
    found: Iterable[Opportunity],
    crowds: Crowds,
) -> LeaseGranted | None:
    """The best lease for the node that asks, of what `opportunities` found; None when there is none. Asked of each node
    that waits: what is told soonest comes first.
    """
    found = [each for each in found if _may_have(each, request, crowds, now_ms)]
    node = seen(state, request.author) if found else None
    if node is None or not may_work(state, node.did):
        return None
    found = _open_to(state, node, found, now_ms)
    found = [
        each for each in found if not is_held_back(each.run, each.rules.name, node.did, now_ms)
    ]
    for opportunity, spec in _offers(state, node, request, found, crowds, now_ms):
        granted = _granted(state, request, opportunity, spec, now_ms)
        if granted is not None:
            return granted
    return None


def _may_have(each: Opportunity, request: LeaseRequested, crowds: Crowds, now_ms: int) -> bool:
    """Whether it may be for this node, as far as can be told without looking at the node."""
    rules, did = each.rules, request.author
    if rules.name not in request.kinds or each.run.name not in (request.runs or (each.run.name,)):
        return False
    return rules.may_have(each.run, crowds.get(each.ability, NOBODY), now_ms, did)


def _granted(
    state: LabState, request: LeaseRequested, opportunity: Opportunity, spec: Spec, now_ms: int
) -> LeaseGranted | None:
    """None where its run cannot pay, or its market buys nothing of the node; whom it trusts is paid as far as it can, so
    that every case comes to an end.
    """
    run, rules = opportunity.run, opportunity.rules
    price, most = (
        awards.price(state, run, request.author, rules, spec, now_ms),
        opportunity.most_micro(state),
    )
    if price is None:
        return None
    if most is not None and price.micro > most:
        if request.author not in run.opened.trusted or awards.is_traded(run, rules.name):
            return None
        price = changed(price, micro=most)
    return LeaseGranted(
        lab=state.lab,
        author=state.lab,
        seq=next_seq(state),
        work=f"{run.name}.{run.next_work}",
        node=request.author,
        request_seq=request.seq,
        deadline_ms=now_ms + rules.patience_ms(run, state.nodes[request.author], spec),
        price_micro=price.micro,
        spec=spec,
        per_million_micro=price.per_million_micro,
    )


def late_leases(state: LabState, now_ms: int) -> list[Lease]:
    """Leases that are late, and for which a run waits with nothing else to hand out; the oldest first."""
    found = [
        lease
        for name in state.live
        if _hands_out(state.runs[name])
        for rules in RULES
        if rules.copies is not None
        and rules.programme in (None, state.runs[name].opened.pace.programme)
        for work in rules.copies.waited_for(state.runs[name])
        if _is_late(state, lease := state.leases[work], rules.copies, now_ms)
    ]
    return sorted(found, key=lambda lease: lease.entry)


def _is_late(state: LabState, lease: Lease, copies: Copies, now_ms: int) -> bool:
    run, node = state.runs[lease.spec.run], state.nodes[lease.node]
    return now_ms - lease.granted_at_ms > copies.late_ms(run, node, lease)


def is_idle(state: LabState, did: str) -> bool:
    """Whether a node that had answers accepted is here and holds nothing."""
    node = state.nodes.get(did)
    return node is not None and node.present and node.works > 0 and not node.leases


def second_copy(
    state: LabState, request: LeaseRequested, lease: Lease, now_ms: int
) -> LeaseGranted | None:
    """The work of a late lease for an idle node that should be done before that lease runs out."""
    node, run = seen(state, request.author), state.runs[lease.spec.run]
    rules = RULES_OF[lease.spec.kind]
    if node is None or not may_work(state, node.did):
        return None
    opportunity = Opportunity(run, rules)
    asked = request.runs or (run.name,)
    is_able = run.name in asked and may_take(node, request.kinds, opportunity)
    is_able = is_able and bool(_open_to(state, node, [opportunity], now_ms))
    if rules.copies is None or not is_able:
        return None
    spec = rules.copies.spec(run, lease)
    expected_ms = rules.copies.expected_ms(run, node, spec)
    if expected_ms is None or now_ms + expected_ms >= lease.deadline_ms:
        return None
    return _granted(state, request, opportunity, spec, now_ms)


def _offers(
    state: LabState,
    node: Node,
    request: LeaseRequested,
    found: Iterable[Opportunity],
    crowds: Crowds,
    now_ms: int,
) -> Iterator[tuple[Opportunity, Spec]]:
    for opportunity in _willing(node, found):
        if may_take(node, request.kinds, opportunity) and _has_room(node, opportunity.rules):
            crowd = crowds.get(opportunity.ability, NOBODY)
            is_counted, most = is_active(node, now_ms), opportunity.most_micro(state)
            here, num_keys = partial(here_of, state), partial(num_keys_of, state)
            run = opportunity.run
            rate = awards.rate_micro(state, run, node.did, opportunity.rules.name, now_ms)
            asking = Asking(run, node, crowd, is_counted, here, num_keys, most, rate, now_ms)
            spec = opportunity.rules.offer(asking)
            if spec is not None:
                yield opportunity, spec


def _open_to(
    state: LabState, node: Node, found: Iterable[Opportunity], now_ms: int
) -> list[Opportunity]:
    """Without what asks for a larger stake than the node has, what is not bought of it, and the work that failed on it
    time after time and rests there; others are offered all three.
    """
    return [
        each
        for each in found
        if stakes.suffices(state, each.run, node.did, each.rules.deposit_micro(each.run))
        and awards.is_bought(state, each.run, node.did, each.rules.name, now_ms)
        and (not node.failing or failures.rest_ms(node, each.run, each.rules.name, now_ms) <= 0)
    ]


def _willing(node: Node, found: Iterable[Opportunity]) -> Iterable[Opportunity]:
    """A run whose work the node just failed to do comes last: it may be able to do another's."""
    failed = {work.rpartition(".")[0] for work, outcome in node.ends[-1:] if outcome in FAILURES}
    return sorted(found, key=lambda each: each.run.name in failed) if failed else found


def may_be_given_more(state: LabState, did: str, now_ms: int) -> bool:
    """Whether a node could be given work of a stranger's kind at all: not before one of its leases ends, or a market
    buys of it.
    """
    node: Node | None = state.nodes.get(did)
    if node is None or not may_work(state, did):
        return False
    if standing_of(state, did).quarantine is not None:
        return False
    return len(node.leases) < _most_leases(node) and not awards.is_on_hold(state, did, now_ms)


def _has_room(node: Node, rules: Rules) -> bool:
    """Whoever may take trusted work was named by an operator; what a node says of itself proves nothing."""
    return len(node.leases) < (
        MAX_OPEN_LEASES_PER_NODE if rules.words.trusted else _most_leases(node)
    )


def _most_leases(node: Node) -> int:
    return MAX_OPEN_LEASES_PER_NODE if node.works > 0 else MAX_OPEN_LEASES_UNPROVEN


def next_seq(state: LabState) -> int:
    """The lab's own next sequence number."""
    return int(state.sequences.get(state.lab, 0)) + 1


def _load(run: Run) -> int:
    return PROGRAMME_OF[run.opened.pace.programme].load(run)
