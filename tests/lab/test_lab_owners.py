"""Shares follow pay that was kept, change hands without loss, and votes are counted by whoever folds the ledger."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.amends import clawed_back, restored
from archipel.lab.apply import Contradiction, apply
from archipel.lab.audits import audits
from archipel.lab.owners import MAX_VOTES_OF_ONE, Decision, Owned
from archipel.lab.owning import why_not_divided
from archipel.lab.snapshots import ENCODERS, encode_state
from archipel.lab.state import Phase
from archipel.market.journal import run_treasury, wallet
from archipel.market.ownership import TREASURY
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.changed import changed
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.ownership import (
    BallotCast,
    ProposalOpened,
    ShareTransferred,
    Spending,
    TreasuryGiven,
    VoteDelegated,
)
from archipel.records.recipe_charter import UNITS, CharterSection, CharterTerms, charter_terms
from archipel.records.table import Table
from courtroom import EXACT, node, sampled
from keyring import delegation
from people import Cheat, Provider, identity
from world import World, finish

VOTING_MS = 60_000
SPONSOR = identity("sponsor")


def charter(**said: Any) -> CharterTerms:
    found = charter_terms(CharterSection(**{"voting_s": VOTING_MS / 1000} | said))
    assert found is not None
    return found


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    whole(found)
    found.check_replay()
    found.close()


def owned(world: World) -> Owned:
    return world.state.owned["run"]


def whole(world: World) -> None:
    """Of every run that has owners all shares are held, and every credit is somewhere."""
    for name, each in world.state.owned.items():
        if each.issued:
            assert sum(each.held.values()) == sum(each.issued.values()) == UNITS, name
            assert min(each.held.values()) >= 0
    assert sum(world.state.book.values()) == 0


def over(world: World, *names: str, **said: Any) -> list[Provider]:
    """A run with a charter that these nodes have brought to its end; each worked."""
    learner = world.started(charter=charter(**said))
    nodes = [world.provider(name) for name in names]
    for each in nodes:
        each.prove()
    finish(world, learner, nodes)
    while learner.work() is not None:
        pass
    return nodes


def divide(world: World, node: Provider, to: str | None = None) -> None:
    """The first statement of an owner: a transfer of a millionth of the whole."""
    node.speak(ShareTransferred, run="run", to=to or SPONSOR.did, units=10**6)


def propose(world: World, node: Any, **said: Any) -> int:
    node.speak(ProposalOpened, run="run", **({"about": "other", "text": "meet"} | said))
    return owned(world).votes[-1].entry


def test_shares_follow_the_pay_that_was_kept(world: World) -> None:
    one, two = over(world, "one", "two")
    pay = {node.did: world.state.book[node.did] for node in (one, two)}
    earned = dict(owned(world).earned)
    assert {did: earned[did] for did in pay} == pay
    divide(world, one)
    held = owned(world).issued
    for did, micro in pay.items():
        assert held[did] == 700_000 * 10**6 * micro // sum(earned.values())
    assert held[world.operator.did] == 200_000 * 10**6, "who paid, where nobody funded it"
    rest = UNITS - sum(each for did, each in held.items() if did != TREASURY)
    assert held[TREASURY] == rest >= 100_000 * 10**6


def test_a_run_without_a_charter_has_no_owners_and_says_so(world: World) -> None:
    learner = world.started()
    one = world.provider("one")
    finish(world, learner, [one])
    assert not world.state.owned
    with pytest.raises(refusals.NoCharter, match=r"without \[charter\]"):
        divide(world, one)


def test_shares_are_divided_when_the_run_is_over_and_not_before(world: World) -> None:
    learner = world.started(charter=charter())
    one = world.provider("one")
    one.prove()
    with pytest.raises(refusals.NotDivided, match="when it is over"):
        divide(world, one)
    assert not owned(world).issued
    finish(world, learner, [one])
    divide(world, one)
    assert owned(world).issued_entry == world.state.size - 1


def test_a_sponsor_owns_its_part_and_so_do_those_who_are_named_for_data(world: World) -> None:
    data, more = identity("data"), identity("more data")
    world.speak(
        world.operator, CreditsSettled, account=SPONSOR.did, direction="in", micro=10**6, reference="r"
    )  # fmt: skip
    learner = world.started(
        charter=charter(data=0.1, treasury=0.0, contributors={data.did: 1, more.did: 2})
    )
    world.speak(SPONSOR, RunFunded, run="run", micro=10**6)
    one = world.provider("one")
    finish(world, learner, [one])
    divide(world, one, to=more.did)
    held = owned(world).issued
    assert held[SPONSOR.did] == 200_000 * 10**6
    assert (held[data.did], held[more.did]) == (33_333_333_333, 66_666_666_666)
    assert held[TREASURY] == 1, "what rounding leaves"
    assert world.operator.did not in held


def test_what_a_verdict_takes_back_of_pay_it_takes_of_shares_and_what_it_gives_again_comes_back(
    world: World,
) -> None:
    story = World()
    cheat = not_contested(story)
    pay = story.state.owned["watched"].earned
    assert pay.get(cheat.did, 0) == 0, "everything that it was paid went back"
    verdict = story.state.nodes[cheat.did].standing.quarantine
    assert verdict is not None
    cheat.speak(VerdictContested, run="watched", work=verdict.work, reason="my memory is fine")
    check_pay(story, "watched")
    story.check_replay()
    story.close()


def not_contested(world: World) -> Provider:
    """A node that was found to make its answers up, in a run with a charter."""
    terms = AuditTerms(floor_micro=1_000_000, pay_milli=250, deadline_ms=10_000, window_ms=60_000)
    world.open_run("watched", versions=2, exact=EXACT, audit=terms, charter=charter())
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    cheat = node(world, "cheat", Cheat)
    nodes = [node(world, name) for name in ("one", "two", "three")]
    learner.work()
    sampled(world, cheat)
    check_pay(world, "watched")
    while world.state.nodes[cheat.did].standing.quarantine is None:
        learner.work()
        for each in nodes:
            granted = each.ask()
            if granted is not None:
                world.tick(10)
                each.answer(granted)
        check_pay(world, "watched")
        world.tick(500)
    return cheat


def check_pay(world: World, name: str) -> None:
    """Without stakes a wallet holds what its owner was paid in the one run that there is, and kept."""
    earned = world.state.owned[name].earned
    wallets = {did: micro for did, micro in world.state.book.items() if did.startswith("did:")}
    wallets.pop(world.operator.did)
    assert {did: micro for did, micro in earned.items() if micro} == wallets


def test_while_a_verdict_can_be_contested_nothing_is_divided(world: World) -> None:
    story = World()
    cheat = not_contested(story)
    story.stop_run("watched")
    one = Provider(story, identity("one"))
    one.speak(ShareTransferred, run="watched", to=cheat.did, units=10**6)  # nobody judges any more
    assert story.state.owned["watched"].issued
    story.close()
    story = World()
    cheat = not_contested(story)
    run = story.state.runs["watched"]
    verdict = next(case.verdict for case in audits(run).closed if case.answer.party == cheat.did)
    assert verdict is not None
    finished = changed(run, phase=Phase.COMPLETE, leases=Table(), attached={"audit": changed(audits(run), cases=Table(), waiting=Table())})  # fmt: skip
    until_ms = verdict.at_ms + 60_000
    assert "can be contested for 0 s more" in str(why_not_divided(finished, until_ms))
    assert why_not_divided(finished, until_ms + 1) is None
    story.close()


def test_a_share_is_given_on_by_its_holder_alone_and_to_the_last_unit(world: World) -> None:
    one, two = over(world, "one", "two")
    divide(world, one)
    has = owned(world).held[one.did]
    for units, why in ((has + 1, "holds"), (10**6 - 1, "or more, a millionth")):
        with pytest.raises(refusals.TooFewShares, match=why):
            one.speak(ShareTransferred, run="run", to=two.did, units=units)
    with pytest.raises(refusals.TooFewShares, match="holds 0"):
        world.speak(identity("stranger"), ShareTransferred, run="run", to=two.did, units=10**6)
    with pytest.raises(refusals.Conflict, match="nothing would move"):
        one.speak(ShareTransferred, run="run", to=one.did, units=10**6)
    one.speak(ShareTransferred, run="run", to=two.did, units=has)
    assert one.did not in owned(world).held
    assert owned(world).issued[one.did] > 0, "what it was given at the division is remembered"
    whole(world)


def test_an_operator_owns_what_its_nodes_earned_and_a_node_s_key_signs_nothing(
    world: World,
) -> None:
    boss = identity("boss")
    learner = world.started(charter=charter())
    early, late = world.provider("early"), world.provider("late", join=False)
    early.prove()
    late.join(delegation=delegation(boss, late.did))
    early.join(delegation=delegation(boss, early.did))
    assert early.did not in owned(world).earned, "what it earned alone is its operator's as well"
    finish(world, learner, [early, late])
    with pytest.raises(refusals.NotAllowed, match="who signs for it"):
        early.speak(ShareTransferred, run="run", to=SPONSOR.did, units=10**6)
    world.speak(boss, ShareTransferred, run="run", to=SPONSOR.did, units=10**6)
    assert owned(world).issued[boss.did] == 700_000 * 10**6


def test_a_holder_that_becomes_a_node_hands_over_shares_votes_and_trust(world: World) -> None:
    one, two, three = over(world, "one", "two", "three")
    entry = propose(world, one)
    one.speak(BallotCast, run="run", proposal=entry, says="yes")
    two.speak(VoteDelegated, run="run", to=one.did)
    has = owned(world).held[one.did]
    boss = identity("boss")
    one.join(delegation=delegation(boss, one.did))
    known = owned(world)
    assert one.did not in known.held
    assert known.held[boss.did] == has
    assert known.delegates[two.did] == boss.did
    (vote,) = known.votes
    assert vote.ballots[boss.did] == "yes"
    with pytest.raises(refusals.VotedBefore):
        world.speak(boss, BallotCast, run="run", proposal=entry, says="no")
    three.speak(BallotCast, run="run", proposal=entry, says="no")
    count = ended(world, entry).count
    assert count.yes == known.held[boss.did] + known.held[two.did]
    assert count.no == known.held[three.did]


def test_a_ring_that_a_handover_would_close_is_opened(world: World) -> None:
    one, two, three = over(world, "one", "two", "three")
    divide(world, one)
    boss = identity("boss")
    one.speak(ShareTransferred, run="run", to=boss.did, units=10**6)
    three.speak(VoteDelegated, run="run", to=one.did)
    two.speak(VoteDelegated, run="run", to=three.did)
    world.speak(boss, VoteDelegated, run="run", to=two.did)
    one.join(delegation=delegation(boss, one.did))
    assert dict(owned(world).delegates) == {boss.did: two.did, two.did: three.did}


def ended(world: World, entry: int) -> Decision:
    """Time passes, and the next entry of the ledger finds the vote decided."""
    world.tick(VOTING_MS)
    world.provider(f"passer-by {entry}")
    return next(each for each in owned(world).decided if each.entry == entry)


def test_a_vote_is_decided_at_the_first_entry_after_its_time(world: World) -> None:
    one, two = over(world, "one", "two")
    entry = propose(world, one, about="licence", licence="Apache-2.0")
    one.speak(BallotCast, run="run", proposal=entry, says="yes")
    world.tick(VOTING_MS - 1)
    two.speak(BallotCast, run="run", proposal=entry, says="abstain")
    assert not owned(world).decided
    world.tick(1)
    with pytest.raises(refusals.VoteOver):
        world.speak(world.operator, BallotCast, run="run", proposal=entry, says="no")
    assert not owned(world).decided, "what was refused changes nothing"
    decision = ended(world, entry)
    held = owned(world).held
    assert decision.count.is_adopted
    assert (decision.count.yes, decision.count.abstain) == (held[one.did], held[two.did])
    assert decision.count.all == UNITS - held[TREASURY], "the treasury votes on nothing"
    with pytest.raises(refusals.VoteOver):
        two.speak(BallotCast, run="run", proposal=entry, says="no")
    assert not world.state.deciding


def test_a_ballot_is_cast_once_by_who_held_something_when_the_vote_was_opened(
    world: World,
) -> None:
    one, two = over(world, "one", "two")
    entry = propose(world, one)
    two.speak(BallotCast, run="run", proposal=entry, says="no")
    with pytest.raises(refusals.VotedBefore, match="said no"):
        two.speak(BallotCast, run="run", proposal=entry, says="yes")
    weight = owned(world).held[one.did]
    one.speak(ShareTransferred, run="run", to=SPONSOR.did, units=weight)
    with pytest.raises(refusals.NotAHolder, match="when the vote was opened"):
        world.speak(SPONSOR, BallotCast, run="run", proposal=entry, says="yes")
    one.speak(BallotCast, run="run", proposal=entry, says="yes")
    assert ended(world, entry).count.yes == weight, "a share votes once, whoever has it later"
    for proposal in (entry + 1, 0):
        with pytest.raises(refusals.Unknown, match="no vote"):
            one.speak(BallotCast, run="run", proposal=proposal, says="yes")


def test_who_is_trusted_votes_for_others_and_a_ring_of_trust_is_refused(world: World) -> None:
    one, two, three = over(world, "one", "two", "three")
    entry = propose(world, one)
    one.speak(VoteDelegated, run="run", to=two.did)
    two.speak(VoteDelegated, run="run", to=three.did)
    for who, to in ((three, one), (three, two), (one, one)):
        with pytest.raises(refusals.LeadsBack):
            who.speak(VoteDelegated, run="run", to=to.did)
    with pytest.raises(refusals.NotAHolder):
        one.speak(VoteDelegated, run="run", to=identity("nobody").did)
    with pytest.raises(refusals.NotAHolder):
        world.speak(identity("nobody"), VoteDelegated, run="run", to=one.did)
    three.speak(BallotCast, run="run", proposal=entry, says="yes")
    two.speak(VoteDelegated, run="run")
    with pytest.raises(refusals.Conflict, match="to nobody"):
        two.speak(VoteDelegated, run="run")
    two.speak(BallotCast, run="run", proposal=entry, says="no")
    held, count = owned(world).held, ended(world, entry).count
    assert (count.yes, count.no) == (held[three.did], held[one.did] + held[two.did])


def test_opening_a_vote_takes_a_share_and_no_more_are_open_than_can_be_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = over(world, "one", "two", least=0.01)
    divide(world, one)
    with pytest.raises(refusals.TooFewShares, match="opening a vote takes 10000000000"):
        world.speak(SPONSOR, ProposalOpened, run="run", about="other", text="meet")
    for _ in range(MAX_VOTES_OF_ONE):
        propose(world, one)
    with pytest.raises(refusals.Conflict, match="has 2 votes open already"):
        propose(world, one)
    monkeypatch.setattr("archipel.lab.voting.MAX_VOTES", MAX_VOTES_OF_ONE)
    with pytest.raises(refusals.Conflict, match="no more at a time"):
        propose(world, two)
    world.tick(VOTING_MS)
    propose(world, two)
    assert len(owned(world).decided) == MAX_VOTES_OF_ONE


def test_an_adopted_spending_moves_what_the_treasury_has_all_of_it_or_nothing(
    world: World,
) -> None:
    one, two = over(world, "one", "two")
    gift = world.state.book[one.did]
    with pytest.raises(refusals.InsufficientCredits):
        one.speak(TreasuryGiven, run="run", micro=gift + 1)
    one.speak(TreasuryGiven, run="run", micro=gift)
    assert world.state.book[run_treasury("run")] == gift
    units, to = 10**6, identity("mirror")
    spendings = [
        Spending(to=to.did, micro=gift - 1),
        Spending(to=to.did, units=units),
        Spending(to=to.did, micro=2),
        Spending(to=to.did, units=UNITS, micro=1),
    ]
    entries = [
        propose(world, who, about="spending", spending=each)
        for who, each in zip((one, one, two, two), spendings, strict=True)
    ]
    for entry in entries:
        one.speak(BallotCast, run="run", proposal=entry, says="yes")
    ended(world, entries[-1])
    undone = [each.undone for each in owned(world).decided]
    assert undone[:2] == ["", ""]
    assert "the treasury had 99999000000 and 1" in undone[2]
    assert undone[3]
    assert world.state.book[wallet(to.did)] == gift - 1
    assert world.state.book[run_treasury("run")] == 1
    assert owned(world).held[to.did] == units
    whole(world)


def test_what_is_rejected_spends_nothing(world: World) -> None:
    one, two = over(world, "one", "two", majority=1.0)
    one.speak(TreasuryGiven, run="run", micro=1000)
    spending = Spending(to=one.did, micro=1000)
    entry = propose(world, one, about="spending", spending=spending)
    one.speak(BallotCast, run="run", proposal=entry, says="yes")
    two.speak(BallotCast, run="run", proposal=entry, says="no")
    assert not ended(world, entry).count.is_adopted
    assert world.state.book[run_treasury("run")] == 1000


@pytest.mark.parametrize("ballots", ["shares", "operators"])
def test_a_hundred_keys_of_one_operator_weigh_what_one_key_weighs(ballots: str) -> None:
    """The same work by one key, and by a hundred of one operator: shares, weight and count are the same."""
    found = []
    for keys in (1, 100):
        story, boss = World(), identity("boss")
        learner = story.started(
            charter=charter(ballots=ballots, least=0.01), versions=3, groups_per_update=40
        )
        nodes = [story.provider(f"key {n}", join=False) for n in range(keys)]
        for number, each in enumerate(nodes):
            each.join(delegation=delegation(boss, each.did))
            story.tick(
                60_000 * (number % 10 == 9)
            )  # the door lets so many of one operator in at a time
        other = story.provider("other")
        turn = 0
        while story.run().version < 3:
            learner.work()
            for who in (nodes[turn % keys], other):
                granted = who.ask()
                if granted is not None:
                    story.tick(1)
                    who.answer(granted)
            turn += 1
        while learner.work() is not None:
            pass
        story.speak(boss, ProposalOpened, run="run", about="other", text="meet")
        (vote,) = story.state.owned["run"].votes
        story.speak(boss, BallotCast, run="run", proposal=vote.entry, says="yes")
        other.speak(BallotCast, run="run", proposal=vote.entry, says="no")
        paid = story.state.book[boss.did], story.state.book[other.did]
        owners = story.state.owned["run"]
        assert set(vote.weights) == {boss.did, other.did, story.operator.did}
        part = owners.issued[boss.did] * sum(paid)
        assert abs(part - 700_000 * 10**6 * paid[0]) < sum(paid), "by its pay, and by nothing else"
        story.tick(VOTING_MS)
        story.provider("passer-by")
        count = story.state.owned["run"].decided[-1].count
        found.append((count.yes, count.no) if ballots == "operators" else part > 0)
        story.check_replay()
        story.close()
    assert found[0] == found[1] == ((1, 1) if ballots == "operators" else True)


def test_by_operators_shares_that_were_given_away_make_no_voters(world: World) -> None:
    one, two = over(world, "one", "two", ballots="operators", least=0.001)
    divide(world, one)
    for name in ("straw", "man"):
        one.speak(ShareTransferred, run="run", to=identity(name).did, units=10**10)
    entry = propose(world, one)
    (vote,) = owned(world).votes
    assert set(vote.weights) == {one.did, two.did, world.operator.did}
    with pytest.raises(refusals.NotAHolder):
        world.speak(identity("straw"), BallotCast, run="run", proposal=entry, says="yes")


def test_a_lab_that_counts_otherwise_leaves_a_ledger_that_follows_from_nothing(
    world: World,
) -> None:
    """There is no entry to lie in: what a spending moves is computed by whoever folds."""
    (one,) = over(world, "one")
    one.speak(TreasuryGiven, run="run", micro=1000)
    entry = propose(world, one, about="spending", spending=Spending(to=one.did, micro=1000))
    early = world.statement(one.identity, BallotCast, run="run", proposal=entry, says="yes")
    late = apply(world.state, early, world.now_ms + VOTING_MS - 1)
    assert late.owned["run"].votes[0].ballots
    with pytest.raises(Contradiction, match="over and counted"):
        apply(world.state, early, world.now_ms + VOTING_MS)
    twice = world.statement(one.identity, BallotCast, run="run", proposal=entry, says="no")
    with pytest.raises(Contradiction, match="the first ballot counts"):
        apply(late, twice, world.now_ms)
    theft = world.statement(
        identity("thief"), ShareTransferred, run="run", to=SPONSOR.did, units=10**6
    )
    with pytest.raises(Contradiction, match="holds 0"):
        apply(world.state, theft, world.now_ms)


def test_owners_come_back_from_a_snapshot_and_after_a_restart(world: World) -> None:
    one, two = over(world, "one", "two")
    entry = propose(world, one)
    one.speak(BallotCast, run="run", proposal=entry, says="yes")
    two.speak(VoteDelegated, run="run", to=one.did)
    before = world.state
    world.check_replay()
    world.restart()
    assert world.state == before
    assert ended(world, entry).count.is_adopted


def test_the_form_before_owners_gives_the_bytes_that_it_gave(world: World) -> None:
    world.started()
    told = json.loads(ENCODERS[6](world.state))
    today = json.loads(encode_state(world.state))
    assert told["format"] == 6
    later = {"owned", "deciding", "meters", "pool", "pledged", "persons", "granted", "paused"}
    later |= {"successors", "succeeded"}
    assert today["state"].keys() - told["state"].keys() == later
    assert told["state"] == {name: today["state"][name] for name in told["state"]}


def test_pay_that_goes_back_and_comes_again_is_counted_as_it_moves(world: World) -> None:
    world.started(charter=charter())
    one = world.provider("one")
    one.prove()
    pay = owned(world).earned[one.did]
    less = clawed_back(world.state, "run", one.did, 300)
    assert less.owned["run"].earned[one.did] == pay - 300
    assert restored(less, "run", one.did, 300).owned["run"].earned[one.did] == pay
