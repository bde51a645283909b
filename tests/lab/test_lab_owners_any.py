"""Whatever owners say, in whatever order: shares are conserved, nobody votes twice, nothing leads back, door and fold agree."""

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.lab.apply import Contradiction, apply
from archipel.lab.owners import Owned
from archipel.lab.owning import admit
from archipel.lab.refusals import Refused
from archipel.lab.snapshots import decode_state, encode_state
from archipel.lab.state import LabState
from archipel.market.ownership import TREASURY
from archipel.market.voting import line
from archipel.records.ownership import (
    BallotCast,
    ProposalOpened,
    ShareTransferred,
    Spending,
    TreasuryGiven,
    VoteDelegated,
)
from archipel.records.recipe_charter import UNITS, CharterSection, charter_terms
from archipel.records.statements import decode, encode
from people import identity
from world import World, finish

NAMES = ("one", "two", "three", "four", "stranger")
VOTING_MS = 1000
people = st.sampled_from(NAMES)
said = st.one_of(
    st.tuples(st.just("give"), people, people, st.integers(1, UNITS)),
    st.tuples(st.just("trust"), people, st.sampled_from([None, *NAMES])),
    st.tuples(st.just("open"), people, st.integers(0, 10**11), st.integers(0, 3000)),
    st.tuples(st.just("cast"), people, st.integers(0, 9), st.sampled_from(["yes", "no", "abstain"])),
    st.tuples(st.just("gift"), people, st.integers(1, 3000)),
)  # fmt: skip


@cache
def begun(ballots: str) -> tuple[LabState, int]:
    """A run that four nodes have brought to its end, and when."""
    world = World()
    section = CharterSection(voting_s=VOTING_MS / 1000, least=0.0001, ballots=ballots)  # type: ignore[arg-type]  # one of the two
    learner = world.started(charter=charter_terms(section))
    nodes = [world.provider(name) for name in NAMES[:4]]
    for node in nodes:
        node.prove()
    finish(world, learner, nodes)
    while learner.work() is not None:
        pass
    state, now_ms = world.state, world.now_ms
    world.close()
    return state, now_ms


def statement(state: LabState, each: tuple[Any, ...]) -> Any:
    what, who, *rest = each
    author = identity(who).did
    seq = max(state.sequences.values()) + 1
    by: dict[str, Any] = {"lab": state.lab, "author": author, "seq": seq, "run": "run"}
    match what:
        case "give":
            return ShareTransferred(**by, to=identity(rest[0]).did, units=rest[1])
        case "trust":
            return VoteDelegated(**by, to=rest[0] and identity(rest[0]).did)
        case "open":
            units, micro = (amount or None for amount in rest)
            if units or micro:
                spending = Spending(to=author, units=units, micro=micro)
                return ProposalOpened(**by, about="spending", text="pay", spending=spending)
            return ProposalOpened(**by, about="other", text="meet")
        case "cast":
            votes = state.owned["run"].votes
            entry = votes[rest[0] % len(votes)].entry if votes else rest[0]
            return BallotCast(**by, proposal=entry, says=rest[1])
    return TreasuryGiven(**by, micro=rest[0])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["shares", "operators"]),
    st.lists(st.tuples(said, st.sampled_from([0, 1, 400, VOTING_MS])), max_size=40),
)
def test_whatever_is_said_shares_and_credits_are_conserved_and_every_vote_is_one(
    ballots: str, story: list[tuple[tuple[Any, ...], int]]
) -> None:
    state, now_ms = begun(ballots)
    for each, ms in story:
        now_ms += ms
        said = decode(encode(statement(state, each)))
        before = state
        try:
            admit(state, said, now_ms)  # type: ignore[arg-type]  # what owners say
        except Refused:
            is_admitted = False
        else:
            is_admitted = True
        try:
            state = apply(state, said, now_ms)  # type: ignore[arg-type]  # what owners say
        except Contradiction:
            assert not is_admitted, "the door lets in what the fold does not take"
        else:
            assert is_admitted, "the fold takes what the door refuses"
            check(before, state, now_ms)
    assert decode_state(encode_state(state)) == state


def check(before: LabState, state: LabState, now_ms: int) -> None:
    owned: Owned = state.owned["run"]
    assert sum(state.book.values()) == 0
    assert all(micro >= 0 for name, micro in state.book.items() if name.startswith("run-treasury"))
    if owned.issued:
        assert sum(owned.held.values()) == sum(owned.issued.values()) == UNITS
        assert min(owned.held.values()) >= 0
    for holder in owned.delegates:
        *_, last = line(holder, owned.delegates)
        assert last not in owned.delegates, "a line of trust ends"
    assert sorted(each.until_ms for each in state.deciding) == [
        each.until_ms for each in state.deciding
    ]
    assert {each.entry for each in state.deciding} == {each.entry for each in owned.votes}
    for vote in owned.votes:
        assert now_ms < vote.until_ms
        assert vote.ballots.keys() <= vote.weights.keys()
        assert TREASURY not in vote.weights
        earlier = next((v for v in before.owned["run"].votes if v.entry == vote.entry), None)
        if earlier is not None:
            assert earlier.ballots.items() <= vote.ballots.items(), "a ballot stands as it was cast"
    for decision in owned.decided:
        assert 0 <= decision.count.cast <= decision.count.all
