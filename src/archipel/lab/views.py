"""What a lab shows of itself: documents computed from the state and the time. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from archipel.lab import escrow, failures, pauses
from archipel.lab.admission import last_seq
from archipel.lab.kinds import RULES, RULES_OF
from archipel.lab.presence import NOBODY_ASKED, last_heard_ms
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import account_of
from archipel.lab.rules import ProgrammeRules
from archipel.lab.stakes import owned_micro, staked_micro
from archipel.lab.standby_views import capacity_view, places
from archipel.lab.state import OPEN_PHASES, LabState, Lease, Node, Run
from archipel.lab.waits import Sight, failing, out_of_credits, pause_of
from archipel.market.journal import held, wallet
from archipel.records.documents import KeyFacts, LeaseView, NodeView, RunView, Wait
from archipel.records.joining_document import JoiningFacts


def run_views(state: LabState, now_ms: int, names: Iterable[str]) -> list[RunView]:
    """These runs, in this order."""
    return [run_view(state, state.runs[name], now_ms) for name in names]


def run_view(state: LabState, run: Run, now_ms: int) -> RunView:
    """Where a run stands."""
    programme = programme_of(run)
    elapsed_ms = learning_ms(run, now_ms)
    shown: dict[str, Any] = dict(programme.shows(run))
    for rules in RULES:
        if rules.programme in (None, programme.name):
            shown |= rules.shows(run)
    return RunView(
        run=run.name,
        programme=programme.name,
        phase=_phase(run),
        version=run.version,
        versions=run.opened.terms.versions,
        recipe=run.opened.recipe.digest,
        exact=run.opened.pace.exact,
        sampled_by=run.opened.pace.engine,
        adapter=None if run.opened.pace.adapter is None else str(run.opened.pace.adapter),
        plays=run.opened.pace.plays,
        backend=run.opened.pace.backend,
        opened_at_ms=run.opened_at_ms,
        published_at_ms=_published_at_ms(run),
        learner_utilisation=min(programme.busy_ms(run) / elapsed_ms, 1) if elapsed_ms else 0.0,
        reward=run.rewards_micro[-1] / 1e6 if run.rewards_micro else None,
        rewards=tuple(micro / 1e6 for micro in run.rewards_micro),
        evaluations=tuple(shown.pop("evaluations", ())),
        verdicts=tuple(shown.pop("verdicts", ())),
        spent_micro=run.paid_micro + state.book.get(held(run.name), 0),
        funded_micro=sum(run.funders.values()) if escrow.is_escrowed(run) else None,
        left_micro=escrow.left_micro(state, run),
        progress=shown,
        capacity=capacity_view(run),
        purposes=run.opened.pace.purposes,
        troubles=tuple(failures.words(known) for known in run.troubles),
    )


def _phase(run: Run) -> str:
    """As people see it: what is over is not paused, though its evaluations may be."""
    return "paused" if run.paused and run.phase in OPEN_PHASES else run.phase.value


def programme_of(run: Run) -> ProgrammeRules:
    """The rules of the run's programme."""
    return PROGRAMME_OF[run.opened.pace.programme]


def learning_ms(run: Run, now_ms: int) -> int:
    """From version 0 to the newest version (or now, while more are to come), without pauses."""
    if not run.chain:
        return 0
    end = run.chain[-1].at_ms if run.version == run.opened.terms.versions else now_ms
    return max(end - run.version_0_at_ms - pauses.idle_ms(run, end), 1)


def _published_at_ms(run: Run) -> tuple[int, ...]:
    if not run.chain:
        return ()
    return (run.version_0_at_ms, *(version.at_ms for version in run.chain[-2:] if version.version))


def node_view(
    state: LabState, node: Node, now_ms: int, asked_ms: Mapping[str, int] = NOBODY_ASKED
) -> NodeView:
    """One node's totals; `asked_ms`: see `presence.last_heard_ms`."""
    tallies, delegated = node.tallies.values(), state.delegations.get(node.did)
    return NodeView(
        node=node.did,
        kinds=node.capabilities.kinds,
        engine=node.capabilities.engine,
        device=node.capabilities.device,
        batch_invariant=node.capabilities.batch_invariant,
        exact=node.contracts,
        classes=node.classes,
        plays=node.plays,
        backends=node.backends,
        protections=node.capabilities.protections,
        groups=sum(tally.units for tally in tallies),
        tokens=sum(tally.tokens for tally in tallies),
        groups_per_s=sum(tally.rate_micro for tally in tallies) / 1e6,
        bytes_in=sum(tally.bytes_in for tally in tallies),
        leases=node.leases,
        expired=node.expired,
        returned=node.returned,
        present=node.present,
        paused=None if node.did not in state.paused else state.paused[node.did].reason,
        revoked=None if delegated is None else delegated.revoked,
        silent_s=max(now_ms - last_heard_ms(node, asked_ms), 0) / 1000,
        credit_micro=owned_micro(state, node.did),
        stake_micro=staked_micro(state, node.did),
        operator=None if delegated is None else account_of(state, node.did),
        places=places(state, node, now_ms),
    )


def node_views(
    state: LabState,
    now_ms: int,
    dids: Iterable[str],
    asked_ms: Mapping[str, int] = NOBODY_ASKED,
) -> list[NodeView]:
    """These nodes, in this order."""
    return [node_view(state, state.nodes[did], now_ms, asked_ms) for did in dids]


def joining_facts(state: LabState) -> JoiningFacts:
    """Who may join that is new here."""
    rule = state.joining
    return JoiningFacts(
        policy=rule.policy,
        allowed=len(rule.allowed),
        effort_bits=rule.effort_bits,
        places=rule.places,
    )


def key_view(state: LabState, did: str, now_ms: int) -> KeyFacts:
    """What a key that speaks to this lab again must know."""
    known = [last_seq(state, did, is_request=flag) for flag in (False, True)]
    owned = int(state.book.get(wallet(did), 0))
    return KeyFacts(did=did, last_seq=max(known), now_ms=now_ms, wallet_micro=owned)


def lease_view(lease: Lease, now_ms: int) -> LeaseView:
    """An open lease and how long it still has."""
    return LeaseView(
        work=lease.work,
        kind=lease.spec.kind,
        node=lease.node,
        version=int(getattr(lease.spec, "version", -1)),
        groups=RULES_OF[lease.spec.kind].size(lease.spec),
        age_s=(now_ms - lease.granted_at_ms) / 1000,
        left_s=(lease.deadline_ms - now_ms) / 1000,
    )


def lease_views(state: LabState, now_ms: int, works: Iterable[str]) -> list[LeaseView]:
    """These open leases, in this order."""
    return [lease_view(state.leases[work], now_ms) for work in works]


def waits(state: LabState, now_ms: int) -> list[Wait]:
    """The pause of every run that is paused, the blocking wait of every other that is not finished, most
    upstream cause first; then work that fails and blocks nothing but itself.
    """
    sight = Sight(state, now_ms)
    live = [state.runs[name] for name in state.live]
    paused = [pause_of(run, run.paused) for run in live if run.paused]
    runs = [run for run in live if not run.paused]
    open_runs = [run for run in runs if run.phase in OPEN_PHASES]
    broke = [
        out_of_credits(run, left, escrow.needed_micro(state, run))
        for run in open_runs
        if (left := escrow.left_micro(state, run)) is not None and _is_broke(state, run)
    ]
    named = {wait.run for wait in broke}
    open_runs = [run for run in open_runs if run.name not in named]
    blocking = [wait for run in open_runs for wait in programme_of(run).waits(sight, run)]
    return (
        paused + broke + blocking + [wait for run in runs for wait in _attached_waits(sight, run)]
    )


def _is_broke(state: LabState, run: Run) -> bool:
    """Whether there is work for strangers that it cannot pay."""
    programme = programme_of(run)
    mine = (rules for rules in RULES if rules.programme in (None, programme.name))
    return escrow.is_out(state, run) and any(rules.audited and rules.due(run) for rules in mine)


def _attached_waits(sight: Sight, run: Run) -> Iterator[Wait]:
    for rules in RULES:
        known = failures.trouble(run, rules.name)
        if known is None or rules.programme is not None or not rules.due(run):
            continue
        able = [node for did in known.nodes if (node := sight.state.nodes.get(did))]
        if able:
            what = f"a version waits for its {rules.name} work"
            yield failing(run, known, what, able, sight.now_ms)
