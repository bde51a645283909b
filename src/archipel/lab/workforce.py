"""Who works for a run and who waits, kept in step with the ledger by `market.provisioning`. Pure; part of `apply`.

What is measured stands in `working_set`. The set is decided anew when something happened that may change it: a version, a
node that came, went, fell silent or was found wrong, a figure that moved by an eighth, new prices. Deciding looks at
every measured node, so among many it waits until enough entries have passed to pay for it (`SPARED`, `NODES_PER_ENTRY`);
who is gone or found wrong leaves the set at once, and the next cheapest is woken.

Law: whoever replays the ledger finds the same set.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from archipel.lab.audits import audits
from archipel.lab.cases import Case, Outcome
from archipel.lab.endings import ended_nodes
from archipel.lab.kinds import RULES_OF
from archipel.lab.node_pauses import may_work
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import keys_of, standing_of
from archipel.lab.standby import demand_of, is_late, pace_of
from archipel.lab.state import OPEN_PHASES, LabState, Lease, Run
from archipel.lab.supplies import awards_of, heard_of, outbid, supplies
from archipel.lab.working_set import Figures, Member, WorkingSet, measured, stepped
from archipel.market.provisioning import (
    Hysteresis,
    Why,
    provision,
)
from archipel.records.changed import changed
from archipel.records.judging import Judging
from archipel.records.membership import KeyRevoked, NodePaused, NodeResumed
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    NodeJoined,
    NodeLeft,
    NodesForgotten,
    Recorded,
    WorkAnswered,
)
from archipel.records.table import Table
from archipel.records.words import WorkSpec

MICRO = 1_000_000
SPARED = 64
"""Measured nodes among whom the set is decided at once."""
NODES_PER_ENTRY = 1
"""Of those beyond, so many are paid for by one entry."""
RESERVED = 64
"""Who is woken first while that is put off."""


def followed(before: LabState, state: LabState, statement: Recorded, at_ms: int) -> LabState:
    """The state with every run's working set as it is after this statement; `before`: what it was said in."""
    match statement:
        case LeaseGranted():
            state = _granted(state, statement, at_ms)
        case WorkAnswered():
            state = _answered(before, state, before.leases[statement.work], at_ms)
        case LeaseExpired(cause="deadline"):
            state = _run_out(state, before.leases[statement.work])
        case (
            NodeJoined()
            | NodeLeft()
            | KeyRevoked()
            | NodesForgotten()
            | NodePaused()
            | NodeResumed()
        ):
            state = _moved(state, statement)
        case _ if isinstance(statement, Judging):
            state = _judged(before, state, state.live)
    if state.markets is not before.markets:
        state = _traded(before, state)
    for name in before.live:
        if (run := state.runs[name]) is not before.runs[name]:
            state = _decided_if_due(state, run, at_ms)
    return state


def _with(state: LabState, run: Run, known: WorkingSet) -> LabState:
    if known is run.working:
        return state
    return changed(state, runs=state.runs.put(run.name, changed(run, working=known)))


def _is_supply(run: Run, spec: WorkSpec) -> bool:
    demand = demand_of(run)
    return demand is not None and spec.kind == demand.kind


def _granted(state: LabState, grant: LeaseGranted, at_ms: int) -> LabState:
    """Somebody else is given work because the learner waits: who is not there any more?"""
    run = state.runs[grant.spec.run]
    known = run.working
    if not known.suffices or grant.node in known.members or not is_late(run, at_ms):
        return state
    return _with(state, run, changed(known, is_stale=True))


def _run_out(state: LabState, lease: Lease) -> LabState:
    """Who lets a lease run out is not there, until it answers again."""
    run = state.runs[lease.spec.run]
    known = run.working
    if lease.node in known.figures:
        figures = changed(known.figures[lease.node], is_silent=True)
        known = changed(
            known.without(lease.node),
            figures=known.figures.put(lease.node, figures),
            is_stale=True,
        )
    return _with(state, run, known)


def _answered(before: LabState, state: LabState, lease: Lease, at_ms: int) -> LabState:
    name = lease.spec.run
    earlier, run = before.runs[name], state.runs[name]
    known = run.working
    if run.version > earlier.version:
        known = _published(earlier, run)
    elif _is_supply(run, lease.spec):
        units = RULES_OF[lease.spec.kind].size(lease.spec)
        version = int(getattr(lease.spec, "version", -1))
        figures = known.figures.get(lease.node, Figures())
        figures = measured(figures, units, version, lease.granted_at_ms, at_ms)
        is_news = (
            figures.is_news(known.period_ms) or known.reasons.get(lease.node) == Why.SILENT.name
        )
        known = changed(
            known,
            figures=known.figures.put(lease.node, figures),
            is_stale=known.is_stale or is_news,
        )
    state = _with(state, run, known)
    return _judged(before, state, (name,))


def _published(earlier: Run, run: Run) -> WorkingSet:
    """One more version: how long it took the trusted role."""
    known, busy_ms = run.working, PROGRAMME_OF[run.opened.pace.programme].busy_ms
    took_ms = busy_ms(run) - busy_ms(earlier)
    step_ms = stepped(known.step_ms, took_ms) if run.version >= 1 else 0
    return changed(known, step_ms=max(step_ms, run.version >= 1), is_stale=True)


Moving = NodeJoined | NodeLeft | KeyRevoked | NodesForgotten | NodePaused | NodeResumed


def _moved(state: LabState, statement: Moving) -> LabState:
    """Nodes came or went: they are in no set before that is decided anew; who is forgotten leaves no figures."""
    is_forgotten = isinstance(statement, NodesForgotten)
    match statement:
        case NodesForgotten():
            gone = statement.nodes
        case NodePaused() | NodeResumed():
            gone = (statement.node,)
        case _:
            gone = ended_nodes(statement)
    for name in state.live:
        run = state.runs[name]
        known, dids = run.working, [did for did in gone if did in run.working.figures]
        for did in dids:
            known = changed(known.without(did), is_stale=True)
        if dids and is_forgotten:
            known = changed(
                known,
                figures=known.figures.drop(*dids),
                reasons=known.reasons.drop(*(did for did in dids if did in known.reasons)),
            )
        state = _with(state, run, known)
    return state


def _judged(before: LabState, state: LabState, names: Iterable[str]) -> LabState:
    """Verdicts of these runs: who was found wrong is in no set from now on."""
    wrong = [
        case.answer.party
        for name in names
        for case in _new_cases(before.runs.get(name), state.runs[name])
    ]
    dids = [did for party in wrong for did in keys_of(state, party)]
    for name in state.live if wrong else ():
        run = state.runs[name]
        known = run.working
        for did in dids:
            if standing_of(state, did).quarantine is not None:
                known = known.without(did)
        state = _with(state, run, changed(known, is_stale=True))
    return state


def _traded(before: LabState, state: LabState) -> LabState:
    """Prices, or what was bought, changed: whose award ended is in no set."""
    for name in state.live:
        run = state.runs[name]
        then, now = awards_of(before, run), awards_of(state, run)
        if now is None or now is then:
            continue
        known = run.working
        for did in known.members:
            known = known if did in now else known.without(did)
        state = _with(state, run, changed(known, is_stale=True))
    return state


def _new_cases(earlier: Run | None, run: Run) -> Iterator[Case]:
    """That were closed just now and change what is known of their node."""
    if run.opened.pace.audit is None:
        return
    now = audits(run).closed
    then = () if earlier is None else audits(earlier).closed
    if now is then:
        return
    old = {id(case) for case in then}
    for case in now:
        is_right = case.verdict is not None and case.verdict.outcome is Outcome.VERIFIED
        if id(case) not in old and not (is_right and case.before is None):
            yield case


def _decided_if_due(state: LabState, run: Run, at_ms: int) -> LabState:
    known = run.working
    if run.phase not in OPEN_PHASES:
        return state if known == WorkingSet() else _with(state, run, WorkingSet())
    dear = max(len(known.figures) - SPARED, 0) // NODES_PER_ENTRY
    if not known.is_stale:
        return state
    if state.size - known.entry < dear:
        return _with(state, run, _filled_up(state, run, at_ms))
    return _with(state, run, decided(state, run, at_ms))


def _filled_up(state: LabState, run: Run, at_ms: int) -> WorkingSet:
    """Members that went are made up for out of the reserve, until the set is decided anew."""
    known = run.working
    while known.reserve and known.period_ms and not known.suffices:
        (did, brings_micro), *others = known.reserve
        known = changed(known, reserve=tuple(others))
        if may_work(state, did) and standing_of(state, did).quarantine is None:
            known = changed(
                known,
                members=known.members.put(did, Member(at_ms, run.version, brings_micro)),
                reasons=known.reasons.put(did, Why.CHEAPEST.name),
                brought_micro=known.brought_micro + brings_micro,
            )
    return known


def decided(state: LabState, run: Run, at_ms: int) -> WorkingSet:
    """The set by all that is known now."""
    known, pace, demand = run.working, pace_of(run), demand_of(run)
    if pace is None or demand is None:
        nothing = WorkingSet(known.figures, known.step_ms)
        return changed(nothing, entry=state.size)
    known = heard_of(state, run, pace.period_ms, at_ms)
    found_here = list(supplies(state, changed(run, working=known), demand.parts))
    found = provision(pace, found_here, frozenset(known.members), Hysteresis())
    brings = {each.node: each.brings_micro(pace) for each in found_here}
    members = {did: _member(run, did, brings[did], at_ms) for did in found.active}
    reasons = dict.fromkeys(outbid(state, run), Why.OUTBID.name)
    reasons |= {did: why.name for did, why in found.reasons.items()}
    told = [
        (did, changed(each, told=each.supply))
        for did, each in known.figures.items()
        if each.told != each.supply
    ]
    return changed(
        known,
        figures=known.figures.put_all(told),
        members=Table(members),
        reasons=Table(reasons),
        counts=dict(Counter(reasons.values())),
        period_ms=pace.period_ms,
        wanted_micro=pace.needed * MICRO,
        brought_micro=sum(brings[did] for did in members),
        reserve=tuple((did, brings[did]) for did in found.spare[:RESERVED]),
        entry=state.size,
        is_stale=False,
    )


def _member(run: Run, did: str, brings_micro: int, at_ms: int) -> Member:
    known: Member | None = run.working.members.get(did)
    if known is None:
        return Member(at_ms, run.version, brings_micro)
    return changed(known, brings_micro=brings_micro)
