"""How a lease ends: answered, given back, run out, or left behind by a node that goes. Pure; parts of `apply`.

What a kind of work does to its run then stands in `kinds`; node, lease and money are moved here, the same for
all kinds. What cannot follow is a KeyError, TypeError or ValueError.
"""

from functools import partial
from typing import Any

from archipel.lab import awards, compute, earning, failures, stakes
from archipel.lab.audits import committed, is_at_work, terms
from archipel.lab.consequences import carried_out
from archipel.lab.escrow import is_over, purse, returned
from archipel.lab.kinds import RULES, RULES_OF
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import account_of, with_standing
from archipel.lab.risk import exposed
from archipel.lab.rounds import called_off
from archipel.lab.rules import Moment
from archipel.lab.speeds import is_used_up, measured, set_back
from archipel.lab.state import MAX_ENDS_REMEMBERED, OPEN_PHASES, LabState, Lease, Node, Run
from archipel.lab.withheld import paid_out
from archipel.market.journal import Move, Posting, held, post, wallet
from archipel.records.canonical import sha256_digest
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.membership import Delegation, KeyRevoked, Signed, read_signed
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    Recorded,
    WorkAnswered,
    encode,
)

WENT_AWAY = "its node went away in the middle of it"
"""What is said of work that a node still held when it left or joined anew."""


def ended_leases(state: LabState, statement: Recorded) -> tuple[Lease, ...]:
    """The open leases that this statement ends when it is applied to `state`; a twin's among them."""
    match statement:
        case WorkAnswered():
            works: tuple[str, ...] = (statement.work, *_twin(state, statement.work))
        case LeaseExpired() | LeaseReturned():
            works = (statement.work,)
        case LeaseGranted() if statement.spec.run in state.runs:
            works = _missed(state, lease_of(state, statement, 0))
        case NodeJoined() | NodeLeft() | KeyRevoked():
            gone = [state.nodes.get(did) for did in ended_nodes(statement)]
            works = tuple(work for node in gone if node for work in node.leases)
        case _:
            works = ()
    return tuple(state.leases[work] for work in works if work in state.leases)


def ended_nodes(statement: NodeJoined | NodeLeft | KeyRevoked) -> tuple[str, ...]:
    """Nodes that hold nothing any more once this was said."""
    match statement:
        case KeyRevoked():
            return (statement.node,)
        case NodeJoined(delegation=Signed() as signed):
            replaced = read_signed(Delegation, signed).replaces
            return (statement.author,) if replaced is None else (statement.author, replaced)
        case _:
            return (statement.author,)


def left_behind(state: LabState, did: str, at_ms: int) -> LabState:
    """A node leaves, or joins anew: what it held goes back at once.

    Law: going away is no way around what a lease that ends unanswered says of its node. Late work sets it
    back, and work in hand failed, once for each kind and run; who goes empty-handed begins afresh.
    """
    node = state.nodes.get(did)
    if node is None:
        return state
    if not node.leases:
        return with_node(state, changed(node, failing=()))
    lost = [state.leases[work] for work in node.leases]
    for lease in lost:
        state = given_up(state, lease.work, "returned", at_ms, _is_late(state, lease, at_ms))
    for name, kind in sorted({(lease.spec.run, lease.spec.kind) for lease in lost}):
        run, node = state.runs[name], state.nodes[did]
        run, node = failures.failed(run, node, kind, "machine", WENT_AWAY, at_ms)
        state = with_node(changed(state, runs=state.runs.put(name, run)), node)
    return state


def _is_late(state: LabState, lease: Lease, at_ms: int) -> bool:
    """Whether it took longer than its node's speed lets one expect, or nearly all of its time."""
    copies, age_ms = RULES_OF[lease.spec.kind].copies, at_ms - lease.granted_at_ms
    run, node = state.runs[lease.spec.run], state.nodes[lease.node]
    is_slow = copies is not None and age_ms > copies.late_ms(run, node, lease)
    return is_slow or is_used_up(lease, at_ms)


def given_up(
    state: LabState, work: str, outcome: str, at_ms: int, was_late: bool = False
) -> LabState:
    """A lease ends unanswered: `expired`, `returned`, `overtaken` or `missed`."""
    lease, node = _ending(state, work, outcome)
    run = state.runs[lease.spec.run]
    run = RULES_OF[lease.spec.kind].given_up(run, lease)
    refund = Posting(Move.REFUND, held(run.name), purse(run), lease.price_micro)
    more = {
        "expired": {"expired": node.expired + 1},
        "returned": {"returned": node.returned + 1, "last_seen_ms": at_ms},
        "overtaken": {},
        "missed": {},
    }[outcome]
    if was_late:
        node = set_back(node, lease)
    return _settled(state, run, _without(node, work, outcome, **more), work, refund)


def lease_of(state: LabState, grant: LeaseGranted, at_ms: int) -> Lease:
    """The lease that a grant makes, taken in at `at_ms` as the next entry."""
    return Lease(
        work=grant.work,
        node=grant.node,
        spec=grant.spec,
        granted_at_ms=at_ms,
        deadline_ms=grant.deadline_ms,
        price_micro=grant.price_micro,
        entry=state.size,
        per_million_micro=grant.per_million_micro,
    )


def granted(state: LabState, lease: Lease) -> LabState:
    """The state when a lease's kind has followed its grant; other leases that it leaves no time have ended, late."""
    gone, name = _missed(state, lease), lease.spec.run
    run = RULES_OF[lease.spec.kind].granted(state.runs[name], lease)
    state = changed(state, runs=state.runs.put(name, run))
    for work in gone:
        state = given_up(state, work, "missed", lease.granted_at_ms, was_late=True)
    return state


def _missed(state: LabState, lease: Lease) -> tuple[str, ...]:
    return RULES_OF[lease.spec.kind].missed(state.runs[lease.spec.run], lease)


def given_back(state: LabState, returned: LeaseReturned, at_ms: int) -> LabState:
    """A node gives its lease back, and says whose fault that is. For want of time, or for no reason, just
    before the deadline it is as late as one that runs out.
    """
    lease, _ = _ending(state, returned.work, "returned")
    was_late = returned.fault in (None, "time") and is_used_up(lease, at_ms)
    state = given_up(state, returned.work, "returned", at_ms, was_late)
    run, node = state.runs[lease.spec.run], state.nodes[lease.node]
    fault, reason = returned.fault, returned.reason
    run, node = failures.failed(run, node, lease.spec.kind, fault, reason, at_ms)
    return changed(state, runs=state.runs.put(run.name, run), nodes=state.nodes.put(node.did, node))


def accepted(state: LabState, answered: WorkAnswered, at_ms: int) -> LabState:
    """An answer was accepted: it is paid, and a second node that still holds the work was overtaken."""
    work, answer = answered.work, answered.answer
    for twin in _twin(state, work):
        state = given_up(state, twin, "overtaken", at_ms)
    lease, node = _ending(state, work, "accepted")
    run = state.runs[lease.spec.run]
    if answer.kind != lease.spec.kind:
        raise ValueError(f"{work} is {lease.spec.kind} work, answered as {answer.kind}")
    rules = RULES_OF[answer.kind]
    is_audited = terms(run) is not None
    moment = Moment(at_ms, state.size, sha256_digest(encode(answered)) if is_audited else "")
    effort = rules.effort(lease, answer)
    earned = awards.earned(lease, effort.tokens, rules.earned(run, lease, answer))
    kept = rules.withheld(run, lease, answer)
    left, lease = lease.price_micro - earned - kept, awards.as_paid(lease, earned)
    run = rules.accepted(run, lease, answer, moment)
    if is_audited and rules.audited:
        done = AcceptedWork(work=work, spec=lease.spec, answer=answer)
        run = committed(run, lease, done, moment)
    run = changed(run, paid_micro=run.paid_micro + earned)
    node = _without(measured(node, lease, effort, at_ms), work, "accepted")
    node = changed(node, last_seen_ms=at_ms)
    run, node = failures.went_well(run, node, answer.kind)
    sponsor = purse(run)
    postings = (
        Posting(Move.PAY, held(run.name), wallet(account_of(state, node.did)), earned),
        Posting(Move.REFUND, held(run.name), sponsor, left),
    )
    state = _settled(state, run, node, work, *postings)
    state = earning.earned(state, run.name, node.did, earned)
    state = compute.done(state, run, node.did, at_ms - lease.granted_at_ms, effort.tokens, at_ms)
    state = stakes.kept(state, run, node.did, lease.price_micro, earned)
    if is_audited and rules.audited:
        state = with_standing(state, node.did, partial(exposed, price_micro=lease.price_micro))
    return heard(state, run.name, at_ms) if is_audited else state


def heard(state: LabState, name: str, at_ms: int) -> LabState:
    """The state when everything has followed from what audits of the run showed just now."""
    state = carried_out(state, name, at_ms)
    return with_run(state, state.runs[name])


def _twin(state: LabState, work: str) -> tuple[str, ...]:
    """The other lease on the same work, if there is one."""
    lease = state.leases.get(work)
    copies = RULES_OF[lease.spec.kind].copies if lease is not None else None
    twin = copies.twin(state.runs[lease.spec.run], work) if copies and lease else None
    return (twin,) if twin else ()


def _ending(state: LabState, work: str, outcome: str) -> tuple[Lease, Node]:
    """The lease that is over now, and who held it."""
    lease = state.leases.get(work)
    if lease is None:
        raise ValueError(f"{work} is not leased, so it cannot be {outcome}")
    return lease, state.nodes[lease.node]


def _without(node: Node, work: str, outcome: str, **more: Any) -> Node:
    """The node whose lease is over; `more` of it is other as well."""
    return changed(
        node,
        leases=tuple(held_work for held_work in node.leases if held_work != work),
        ends=(*node.ends, (work, outcome))[-MAX_ENDS_REMEMBERED:],
        **more,
    )


def _settled(state: LabState, run: Run, node: Node, work: str, *postings: Posting) -> LabState:
    state = changed(
        state,
        nodes=state.nodes.put(node.did, node),
        leases=state.leases.drop(work),
        book=post(state.book, postings),
    )
    state = awards.over(state, run.name, work)
    return with_run(state, changed(run, leases=run.leases.drop(work)))


def with_run(state: LabState, run: Run) -> LabState:
    """With the run as it is now; what only its work needed goes when that is over."""
    state, programme = called_off(state, run), PROGRAMME_OF[run.opened.pace.programme]
    if run.phase in OPEN_PHASES or run.leases:
        state, run = paid_out(state, run)
        return changed(state, runs=state.runs.put(run.name, run))
    state, run = paid_out(state, programme.closed(run))
    state, live = returned(state, run) if is_over(run) else state, state.live
    is_due = any(rules.due(run) for rules in RULES if rules.programme in (None, programme.name))
    if not is_due and not is_at_work(run):
        live = tuple(name for name in live if name != run.name)
    return changed(state, runs=state.runs.put(run.name, run), live=live)


def with_node(state: LabState, node: Node) -> LabState:
    """With the node as it is now."""
    return changed(state, nodes=state.nodes.put(node.did, node))
