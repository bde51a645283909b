"""What stories of audits share: a run that is audited, nodes and auditors in it, draws, verdicts, and books that balance."""

from archipel.lab import drawing
from archipel.lab.audits import audits, closed_case
from archipel.lab.cases import Case, Verdict
from archipel.lab.stakes import staked_micro
from archipel.market.journal import TREASURY
from archipel.records.audits import AuditTerms
from archipel.records.exact import CONTRACTS
from archipel.records.statements import LeaseGranted
from people import Learner, Provider, identity
from world import World

EXACT = CONTRACTS["w7a8"]
ALWAYS = AuditTerms(floor_micro=1_000_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000)
TERMS = AuditTerms(floor_micro=20_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000)
BOTH = ("audit", "rollout")


def check_money(world: World) -> None:
    """Balances add up to zero, and what runs have paid is what their nodes have."""
    state = world.state
    assert sum(state.book.values()) == 0
    held = sum(each.price_micro for each in state.leases.values())
    paid = sum(run.paid_micro for run in state.runs.values())
    owned = sum(state.book.get(did, 0) + staked_micro(state, did) for did in state.nodes)
    assert paid == owned + state.book.get(TREASURY, 0)
    assert all(micro >= 0 for each, micro in state.book.items() if each.startswith("stake:"))
    assert state.book.get(world.operator.did, 0) == -paid - held
    for run in state.runs.values():
        known = audits(run)
        assert not known.said
        assert not known.decided
        assert known.seen.keys() <= known.waiting.keys()
        assert set(known.leases.values()) <= known.cases.keys()
        for case in known.cases.values():
            looked = [each.auditor for each in case.opinions]
            assert case.answer.party not in looked
            assert len(set(looked)) == len(looked) or case.before is not None


def opened(world: World, terms: AuditTerms = TERMS, **pace: object) -> Learner:
    world.open_run(exact=EXACT, audit=terms, **{"max_groups_per_lease": 2, **pace})  # type: ignore[arg-type]
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    return learner


def node(world: World, name: str, kind: type[Provider] = Provider, **stated: object) -> Provider:
    found = kind(world, identity(name), 0, exact=(EXACT,), **{"kinds": BOTH, **stated})  # type: ignore[arg-type]
    found.join()
    return found


def sampled(world: World, who: Provider) -> LeaseGranted:
    """One lease of rollouts, done."""
    who.kinds = ("rollout",)
    granted = who.ask()
    who.kinds = BOTH
    assert granted is not None
    world.tick(5)
    who.answer(granted)
    return granted


def audited(world: World, who: Provider) -> LeaseGranted | None:
    """One audit, done, if there is one for this node."""
    kinds, who.kinds = who.kinds, ("audit",)
    granted = who.ask()
    who.kinds = kinds
    if granted is not None:
        world.tick(5)
        who.answer(granted)
    return granted


def draw(world: World) -> None:
    """Time for both draws."""
    world.tick(drawing.DRAW_EVERY_MS)
    world.tick(drawing.DRAW_EVERY_MS)


def case_of(world: World, work: str) -> Case:
    known = audits(world.run())
    found = known.cases.get(work) or closed_case(world.run(), work)
    assert found is not None
    return found


def verdict_of(world: World, work: str) -> Verdict:
    found = case_of(world, work).verdict
    assert found is not None
    return found


def settled(world: World, work: str, *auditors: Provider) -> Verdict:
    """Everybody audits, in this order, until the case is over."""
    for _ in range(12):
        draw(world)
        if case_of(world, work).verdict is not None:
            return verdict_of(world, work)
        for each in auditors:
            audited(world, each)
    raise AssertionError("the case did not end")
