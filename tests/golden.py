"""How a golden ledger is made: one story with every kind of statement, told once and then kept.

`python tests/golden.py FILE` writes a new one; an old one is never written again, because what it shows is
that this release folds what an earlier one wrote.
"""

import json
import sys
from pathlib import Path

from archipel.identity import Identity
from archipel.lab.decide import next_seq
from archipel.lab.forgetting import forgettable
from archipel.lab.programmes import door
from archipel.lab.recovery import replay, snapshot_ref
from archipel.lab.snapshots import FORMAT, encode_state
from archipel.ledger.verification import lab_key
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.canonical import sha256_digest
from archipel.records.compute import ComputePledged, ComputeWithdrawn
from archipel.records.exact import CONTRACTS
from archipel.records.grants import (
    GrantCharged,
    GrantEnded,
    GrantGiven,
    GrantRequested,
    PoolFunded,
    PoolPledged,
    PoolRuled,
)
from archipel.records.kinds.adapt import AdaptAnswer
from archipel.records.membership import (
    Effort,
    JoiningRuled,
    KeyRevoked,
    NodePaused,
    NodeResumed,
    effort_prefix,
    find_nonce,
)
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.ownership import (
    BallotCast,
    MeterNamed,
    ProposalOpened,
    RevenueEntered,
    ShareTransferred,
    Spending,
    TreasuryGiven,
    VoteDelegated,
)
from archipel.records.plants import PlantsCommitted, PlantsRevealed, commitment
from archipel.records.recipe_charter import CharterSection, charter_terms
from archipel.records.rounds import BidWithdrawn
from archipel.records.stakes import StakeGiven, StakePut, StakeReturned
from archipel.records.statements import SnapshotTaken
from archipel.records.succession import Successor, SuccessorsNamed
from archipel.records.withdrawal import ContributionWithdrawn
from granted import DAY_MS, DOOR, RULE, attested, permitted
from keyring import delegation, invitation
from metered import METER, Book
from outer import GATE, member, outer_started
from people import Cheat, Provider, identity
from questions import hand, open_door
from succeeding import NEXT, entries, head_over, succession
from trading import TERMS as TRADING
from trading import exchange_at
from world import TERMS, World


def story() -> World:
    """Two runs, one stopped, one whose work failed and was retried; a pause that is over and one that a stop ended;
    leases answered, returned, expired, lost, left behind; nodes that leave and are forgotten; a run by the exact
    contract; one by noise that nobody chose; one that is audited, with a node that made its answer up, and contests
    in vain; one with stakes, of which one is given and one returned, and with a decoy; an operator of nodes; one whose work is bought at auction.
    """
    world = World()
    learner = world.started(versions=3, checkpoint_every=2)
    quick, slow = world.provider("quick", 40_000), world.provider("slow", 400)
    _answered(world, quick)
    world.open_run("second", versions=2, max_staleness=0)
    learner.work()
    _kept(slow)
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    slow.leases.clear()
    quick.give_back(_kept(quick).work)
    _kept(quick)
    quick.leases.clear()
    _answered(world, quick)
    quick.fail()
    quick.fail("out of memory", "machine")
    learner.fail("cannot read a file")
    kept = _kept(quick)
    world.pause_run("run")
    world.tick(250)
    quick.answer(kept)
    _snapshot(world)
    world.resume_run("run")
    world.retry_run("second")
    leaver = world.provider("leaver")
    _kept(leaver)
    world.tick(TERMS["trusted_deadline_ms"])
    leaver.leave()
    world.pause_run("second")
    forgotten = forgettable(world.state, world.now_ms, 1)
    assert forgotten is not None
    world.await_(world.lab.say(forgotten))
    slow.join()
    world.stop_run("second")
    finish_first(world, learner, [quick, slow])
    while learner.work() is not None:
        pass
    exactly(world, learner)
    by_measure(world, learner)
    world.check()
    audited(world, learner)
    vouched(world, learner)
    funded(world, learner)
    traded(world)
    owned(world, learner)
    taken_back(world)
    pretrained(world)
    granted(world)
    through_a_door(world)
    with_operators(world)
    successors = (Successor(did=NEXT.did, address="https://next.example"),)
    world.speak(world.operator, SuccessorsNamed, successors=successors, ask=())
    _snapshot(world)
    world.check_replay()
    return world


def traded(world: World) -> None:
    """A run whose work is bought: one bid is withdrawn, one seal is never opened, one round is void."""
    exchange = exchange_at(world, name="traded", versions=30)
    _, _, silent, gone = exchange.measured("cheap", "dear", "silent", "gone")
    number = exchange.round()
    for node in (silent, gone):
        exchange.seal(node, exchange.bid(node, 1))
    gone.speak(BidWithdrawn, run="traded", number=number, node=gone.did)
    exchange.sell(cheap=300_000, dear=500_000)
    _answered(world, exchange.nodes[0])
    world.now_ms = exchange.market.opened_at_ms + TRADING.period_ms
    exchange.round()
    exchange.cleared()
    world.stop_run("traded")


def granted(world: World) -> None:
    """A sponsor, a stake that was lost and a provider fill the pool; one grant is asked for and charged, one is given and
    ended, one runs out.
    """
    sponsor, ada = identity("sponsor"), identity("ada")
    world.speak(sponsor, PoolFunded, source="wallet", micro=3_000)
    world.speak(world.operator, PoolFunded, source="treasury", micro=1)
    world.speak(world.operator, PoolRuled, **RULE)
    giver = world.provider("giver")
    world.speak(giver.identity, PoolPledged, parts=500_000)
    world.speak(
        ada, GrantRequested, attestation=attested(world.state.lab, ada.did, "ada", world.now_ms)
    )
    world.tick(3_600_000)
    permit = permitted(world.state.lab, ada, world.now_ms + DAY_MS)
    world.speak(
        DOOR, GrantCharged, permit=permit, micro=300, num_tokens=1_000_000, since_ms=world.now_ms - 3_600_000,
        until_ms=world.now_ms,
    )  # fmt: skip
    for name in ("class", "other class"):
        world.speak(
            world.operator, GrantGiven, to=identity(name).did, micro=100, until_ms=world.now_ms + 60_000, reason="seven",
        )  # fmt: skip
    world.speak(world.operator, GrantEnded, grantee=identity("class").did, reason="over")
    _snapshot(world)
    world.tick(60_000)


def pretrained(world: World) -> None:
    """Members of whom one is refused once, one comes too late once and one leaves; a merge in vain; held-out text that is
    committed to and revealed.
    """
    merger = outer_started(
        world, "pretrained", versions=3, late="use", gate=GATE, slack_milli=20_000
    )
    one, two, three = (member(world, name) for name in ("one", "two", "late"))
    for refused in ({one.did: "loss", two.did: "payload"}, {two.did: "outlier"}, {}):
        slow, grants = three.ask(), [_kept(one), _kept(two)]
        world.tick(400)
        one.answer(grants[0])
        two.answer(grants[1])
        world.tick(1_500)
        merger.refuses = refused
        merger.work()
        if slow is not None:
            three.answer(slow)
    three.leave()
    while world.run("pretrained").version < 3:
        for each in (one, two):
            while (granted := each.ask()) is not None:
                world.tick(400)
                each.answer(granted)
        world.tick(1_500)
        merger.work()
    while merger.work() is not None:
        pass


def through_a_door(world: World) -> None:
    """Tenants train and sample through a door: one question comes back, one is withdrawn, one is too old, two are done again,
    once with other bits; one answer nobody needs any more.
    """
    terms = {"adapt": "staked", "deposit_micro": 300, "min_deadline_ms": 5000}
    asker = open_door(world, "door", keep_ms=20_000, **terms)
    one, other, odd = (hand(world, f"hand {n}", bits=bits) for n, bits in enumerate(("", "", "!")))
    for each in (one, other, odd):
        world.speak(world.operator, StakeGiven, node=each.did, micro=300)
    first = asker.adapt("first", "ann", share=2)
    second = asker.adapt("second", "ann", share=2, after=first)
    _kept(one)
    one.give_back(next(iter(one.leases)))
    for _ in range(2):
        _answered(world, one)
    for each in (other, odd):
        asker.adapt(again=first)
        _answered(world, each)
    state = door.course(world.run("door")).answered[second].answer
    assert isinstance(state, AdaptAnswer)
    asker.sample("of the adapter", "bob", adapter=state.state)
    asker.sample("of the model", "bob", lasts_ms=1000)
    withdrawn = asker.sample("of nobody", "cat")
    asker.withdraw(withdrawn)
    _answered(world, other)
    kept = asker.adapt("kept", "cat", state=state.state)
    held = _kept(one)
    asker.withdraw(first)
    world.tick(2000)
    one.answer(held)
    asker.adapt("waiting", "ann", after=kept)
    asker.adapt("behind it", "ann", after=kept + 1)


def taken_back(world: World) -> None:
    """Data, what a party did and what a key did are no longer given."""
    data = sha256_digest(b"a page")
    for said in ({"data": data}, {"key": identity("quick").did}):
        world.speak(world.operator, ContributionWithdrawn, run="run", reason="asked for", **said)
    slow = identity("slow")
    world.speak(slow, ContributionWithdrawn, run="run", party=slow.did, reason="")


def owned(world: World, learner: Provider) -> None:
    """A run with a charter: its owners give shares on, trust each other, decide twice, and one spending is carried out;
    what the model earned goes to them.
    """
    section = CharterSection(
        voting_s=60, data=0.1, contributors={identity("data").did: 1}, treasury=0.0
    )
    world.open_run("owned", versions=1, charter=charter_terms(section))
    nodes = [world.provider(name) for name in ("owner", "other owner")]
    while world.run("owned").version < 1:
        learner.work()  # type: ignore[attr-defined]  # a learner
        for provider in nodes:
            granted = provider.ask()
            if granted is not None:
                world.tick(10)
                provider.answer(granted)
    while learner.work() is not None:  # type: ignore[attr-defined]  # a learner
        pass
    one, two = nodes
    one.speak(ShareTransferred, run="owned", to=two.did, units=10**9)
    two.speak(VoteDelegated, run="owned", to=one.did)
    two.speak(TreasuryGiven, run="owned", micro=500)
    spending = Spending(to=identity("mirror").did, micro=400)
    for said in (
        {"about": "licence", "licence": "Apache-2.0"},
        {"about": "spending", "spending": spending},
    ):
        one.speak(ProposalOpened, run="owned", text="As we said", **said)
        entry = world.state.owned["owned"].votes[-1].entry
        one.speak(BallotCast, run="owned", proposal=entry, says="yes")
    _snapshot(world)
    world.tick(60_000)
    one.speak(ProposalOpened, run="owned", about="other", text="Meet in spring")
    weights = world.run("owned").chain[-1].policy
    world.speak(world.operator, MeterNamed, run="owned", meter=METER.did, weights=weights)
    receipt = Book(weights).due(2_000_000).signed
    world.speak(
        world.operator, RevenueEntered, run="owned", first=1, receipt=receipt, micro=1_500_001
    )


def finish_first(world: World, learner: Provider, providers: list[Provider]) -> None:
    while world.run().version < world.run().opened.terms.versions:
        learner.work()  # type: ignore[attr-defined]  # a learner
        for provider in providers:
            granted = provider.ask()
            if granted is not None:
                world.tick(10)
                provider.answer(granted)


def exactly(world: World, learner: Provider) -> None:
    world.open_run("exact", versions=1, exact=CONTRACTS["w7a8"])
    able = world.provider(
        "able", exact=tuple(CONTRACTS[name] for name in ("w7a8", "w7a15", "w13a15"))
    )
    while world.run("exact").version < 1:
        learner.work()  # type: ignore[attr-defined]  # a learner
        granted = able.ask()
        if granted is not None:
            world.tick(10)
            able.answer(granted)
    while learner.work() is not None:  # type: ignore[attr-defined]  # a learner
        pass


def by_measure(world: World, learner: Provider) -> None:
    """A run in floating point, by noise that the ledger gave."""
    engine = "archipel-fp32-cpu"
    world.open_run("drawn", versions=1, engine=engine, noise="drawn")
    able = world.provider("measured", classes=(engine,))
    while world.run("drawn").version < 1:
        learner.work()  # type: ignore[attr-defined]  # a learner
        granted = able.ask()
        world.tick(250)
        if granted is not None:
            able.answer(granted)
    while learner.work() is not None:  # type: ignore[attr-defined]  # a learner
        pass


def audited(world: World, learner: Provider) -> None:
    cheat, nodes = _watched(world, learner, identity("cheat"))
    has_contested = False
    while world.state.live:
        _watch(world, learner, nodes)
        verdict = world.state.nodes[cheat.did].standing.quarantine
        if verdict is not None and not has_contested:
            has_contested = True
            cheat.speak(
                VerdictContested, run="watched", work=verdict.work, reason="my memory is fine"
            )


def vouched(world: World, learner: Provider) -> None:
    """Stakes are kept from pay, put in, given and returned; a decoy shows who looks."""
    terms = AuditTerms(
        floor_micro=150_000, pay_milli=100, deadline_ms=10_000, window_ms=60_000, stake=2, deposit_micro=500,
        part_milli=250,
    )  # fmt: skip
    world.open_run("vouched", versions=2, exact=CONTRACTS["w7a8"], audit=terms)
    decoy, secret = Provider(world, identity("decoy")), "5a" * 32
    nodes = [Provider(world, identity(name)) for name in ("one", "two", "three")]
    for each in (decoy, *nodes):
        each.kinds, each.exact = ("audit", "rollout"), (CONTRACTS["w7a8"],)
        each.join()
        world.speak(world.operator, StakeGiven, node=each.did, micro=500)
    digest = commitment("vouched", decoy.did, secret, 0)
    learner.speak(PlantsCommitted, run="vouched", digest=digest)
    learner.work()  # type: ignore[attr-defined]  # a learner
    _answered(world, decoy)
    while world.state.live:
        _watch(world, learner, nodes)
    decoy.speak(PlantsRevealed, run="vouched", secret=secret, share_milli=0)
    nodes[0].speak(StakePut, micro=1)
    decoy.leave()
    world.tick(terms.window_ms)
    decoy.speak(StakeReturned)


def funded(world: World, learner: Provider) -> None:
    """Credits come in from outside, two sponsors fund a run that ends early, and some go out again."""
    sponsor, other = identity("sponsor"), identity("other sponsor")
    for who in (sponsor, other):
        world.speak(
            world.operator, CreditsSettled, account=who.did, direction="in", micro=9_001,
            reference=f"invoice of {who.did[-6:]}", usd_micro=180_020,
        )  # fmt: skip
    world.open_run("funded", versions=2)
    learner.work()  # type: ignore[attr-defined]  # a learner
    world.speak(sponsor, RunFunded, run="funded", micro=9_001)
    world.speak(other, RunFunded, run="funded", micro=4_000)
    world.provider("paid").prove()
    world.stop_run("funded")
    world.speak(
        world.operator,
        CreditsSettled,
        account=sponsor.did,
        direction="out",
        micro=1_000,
        reference="back",
    )


def not_contested(world: World, learner: Provider, who: Identity) -> str:
    """The work on which a node with this key was found wrong, the moment that it was."""
    cheat, nodes = _watched(world, learner, who)
    while (verdict := world.state.nodes[cheat.did].standing.quarantine) is None:
        _watch(world, learner, nodes)
    return verdict.work


def _watched(world: World, learner: Provider, who: Identity) -> tuple[Provider, list[Provider]]:
    terms = AuditTerms(floor_micro=50_000, pay_milli=250, deadline_ms=10_000, window_ms=60_000)
    world.open_run("watched", versions=2, exact=CONTRACTS["w7a8"], audit=terms)
    learner.kinds = ("update", "evaluate", "audit")
    cheat = Cheat(world, who)
    nodes = [Provider(world, identity(name)) for name in ("one", "two", "three")]
    for each in (cheat, *nodes):
        each.kinds, each.exact = ("audit", "rollout"), (CONTRACTS["w7a8"],)
        each.join()
    learner.work()  # type: ignore[attr-defined]  # a learner
    _answered(world, cheat)
    return cheat, nodes


def _watch(world: World, learner: Provider, nodes: list[Provider]) -> None:
    learner.work()  # type: ignore[attr-defined]  # a learner
    for provider in nodes:
        granted = provider.ask()
        if granted is not None:
            world.tick(10)
            provider.answer(granted)
    world.tick(500)


def _kept(provider: Provider):
    granted = provider.ask()
    assert granted is not None
    return granted


def _answered(world: World, provider: Provider) -> None:
    granted = _kept(provider)
    world.tick(250)
    provider.answer(granted)


def with_operators(world: World) -> None:
    """Two nodes of an operator, of which one gets another key and one is revoked; a lab that asks newcomers for more."""
    world.open_run("fifth", versions=2)
    while world.run("fifth").version < 0:
        world.learner().work()
    boss = identity("boss")
    first, second = (world.provider(name, 40_000, join=False) for name in ("first", "second-key"))
    first.join(delegation=delegation(boss, first.did))
    first.prove()
    ruled = {"policy": "invited", "allowed": (), "effort_bits": 4, "places": 2}
    world.speak(world.operator, JoiningRuled, **ruled)
    second.join(delegation=delegation(boss, second.did, issued_ms=2, replaces=first.did))
    second.prove()
    guest = world.provider("guest", join=False)
    head = world.lab.log.head
    root = f"sha256:{head.root.hex()}"
    nonce = find_nonce(effort_prefix(world.state.lab, guest.did, root), 4, 0, 1000)
    assert nonce is not None
    guest.join(
        invitation=invitation(world.operator, world.state.lab, world.now_ms + 1000),
        effort=Effort(size=head.size, root=root, nonce=nonce),
    )
    until_ms = world.now_ms + 30 * DAY_MS
    pledge = {"name": 16 * "0", "until_ms": until_ms}
    world.speak(boss, ComputePledged, **pledge, share=250_000)
    world.speak(
        boss, ComputePledged, name=16 * "1", until_ms=until_ms, purpose="medicine", hours=10
    )
    world.speak(boss, ComputeWithdrawn, name=16 * "1")
    world.speak(boss, NodePaused, node=second.did, reason="the room is hot")
    world.speak(boss, NodeResumed, node=second.did)
    world.speak(guest.identity, NodePaused, node=guest.did, reason="it is needed here")
    world.speak(boss, KeyRevoked, node=second.did, reason="sold")


def _snapshot(world: World) -> None:
    data = encode_state(world.state)
    world.put(data)
    did = world.state.lab
    taken = SnapshotTaken(
        lab=did, author=did, seq=next_seq(world.lab.ahead), format=FORMAT,
        size=world.state.size, state=snapshot_ref(data),
    )  # fmt: skip
    world.await_(world.lab.say(taken))


def golden(world: World) -> dict[str, object]:
    """What is kept: all of it, and that another lab goes on from there."""
    told = entries(world)
    told.append(succession(told, identity("lab")).to_bytes())
    state = replay(NEXT.did, told)
    return {
        "lab": state.lab,
        "ledger_key": lab_key(state.lab).to_text(),
        "entries": [data.decode() for data in told],
        "head": head_over(told, NEXT).note.decode(),
        "state_format": FORMAT,
        "state": sha256_digest(encode_state(state)),
        "balances": dict(sorted(state.book.items())),
        "versions": {name: run.version for name, run in sorted(state.runs.items())},
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if place.exists():
        raise SystemExit(f"{place} is kept as it is; give another name")
    place.write_text(json.dumps(golden(story()), indent=1, ensure_ascii=False) + "\n")
