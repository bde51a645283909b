"""A ledger goes on under another's key only by whom the lab, a charter or the shares let; what nobody let go on is stopped."""

from collections.abc import Iterator
from typing import Any

import pytest

from archipel.cli.ledger_continued import why_not
from archipel.identity import Envelope, Identity
from archipel.lab import refusals
from archipel.lab.admission import admit
from archipel.lab.apply import Contradiction, apply
from archipel.lab.entry import Entry, read_entry
from archipel.lab.owning import would_hold
from archipel.lab.recovery import replay
from archipel.lab.snapshots import decode_state, encode_state
from archipel.lab.state import LabState, Phase
from archipel.lab.succession import agreed_units
from archipel.market.ownership import TREASURY
from archipel.records.ownership import ShareTransferred, VoteDelegated
from archipel.records.recipe_charter import UNITS, CharterSection, charter_terms
from archipel.records.statements import InvalidRecord, LeaseRequested
from archipel.records.succession import LabSucceeded, Successor, SuccessorsNamed
from people import envelope, identity
from succeeding import NEXT, STEWARD, THIRD, agreement, entries, head_over, succession
from world import World, finish

LAB, HEIR = identity("lab"), identity("heir")


def charter(**said: Any) -> Any:
    return charter_terms(CharterSection(**said))


@pytest.fixture
def world() -> Iterator[World]:
    """One run that nobody owns, one with a charter, one whose charter names who may continue it."""
    found = World()
    found.open_run("plain")
    found.open_run("owned", charter=charter())
    found.open_run("chosen", charter=charter(successors={HEIR.did: ""}))
    yield found
    found.close()


def name(world: World, *dids: str) -> None:
    successors = tuple(Successor(did=did) for did in dids)
    world.speak(world.operator, SuccessorsNamed, successors=successors, ask=())


def after(world: World, entry: Entry, lab: Identity = NEXT) -> LabState:
    """The whole ledger with it, as anybody folds it; `lab` is whose it is then."""
    return replay(lab.did, [*entries(world), entry.to_bytes()])


def stands(state: LabState) -> dict[str, str]:
    return {name: run.phase.value for name, run in state.runs.items()}


def test_a_lab_that_was_named_continues_the_ledger_and_every_balance_stays(world: World) -> None:
    name(world, NEXT.did)
    entry = succession(entries(world), LAB)
    state = after(world, entry)
    assert (state.lab, state.operators) == (NEXT.did, {STEWARD.did})
    assert state.book == world.state.book
    assert stands(state) == {"plain": "preparing", "owned": "preparing", "chosen": "stopped"}
    assert [each.predecessor for each in state.succeeded] == [LAB.did]
    assert state.successors is None
    assert decode_state(encode_state(state)) == state


def test_nobody_else_continues_it(world: World) -> None:
    told = entries(world)
    with pytest.raises(Contradiction, match=r"none of .* may continue this ledger"):
        after(world, succession(told, LAB))
    with pytest.raises(Contradiction, match="none of"):
        after(world, succession(told, LAB, agreement(told, world.operator, LAB)))
    name(world, THIRD.did)
    with pytest.raises(Contradiction, match="none of"):
        after(world, succession(entries(world), LAB))
    name(world)  # and nobody from now on
    with pytest.raises(Contradiction, match="none of"):
        after(world, succession(entries(world), LAB, successor=THIRD), THIRD)


def test_what_a_charter_names_counts_for_its_run_alone_and_before_whom_the_lab_names(
    world: World,
) -> None:
    told = entries(world)
    state = after(world, succession(told, LAB, agreement(told, HEIR, LAB)))
    assert stands(state) == {"plain": "stopped", "owned": "stopped", "chosen": "preparing"}
    name(world, HEIR.did)
    told = entries(world)
    state = after(world, succession(told, LAB, agreement(told, HEIR, LAB)))
    assert set(stands(state).values()) == {"preparing"}


@pytest.mark.parametrize(
    "other",
    [
        {"size": 1},
        {"root": "sha256:" + "0" * 64},
        {"successor": THIRD.did},
        {"predecessor": THIRD.did},
        {"by": HEIR.did},
    ],
    ids=str,
)
def test_an_agreement_is_to_one_succession_and_its_signers_own(
    world: World, other: dict[str, Any]
) -> None:
    told, signer = entries(world), world.operator if "by" in other else HEIR
    forged = succession(told, LAB, agreement(told, signer, LAB, **other))
    with pytest.raises(InvalidRecord, match=r"agreements\.0"):
        read_entry(forged.to_bytes())


def test_the_prefix_is_the_predecessors_own_and_what_stands_before(world: World) -> None:
    name(world, NEXT.did)
    told = entries(world)
    for other in (
        {"head": head_over(told, HEIR).note.decode()},
        {"head": head_over(told[:-1], LAB).note.decode()},
        {"root": "sha256:" + "0" * 64},
        {"predecessor": HEIR.did},
    ):
        with pytest.raises(InvalidRecord, match="head"):
            read_entry(succession(told, LAB, **other).to_bytes())
    shorter = succession(told[:-1], LAB)
    with pytest.raises(Contradiction, match=f"expected {LAB.did} from {len(told)} on"):
        after(world, shorter)
    elsewhere = succession([*told[:-1], told[0]], LAB)  # a second history of as many entries
    with pytest.raises(Contradiction, match="took over"):
        after(world, elsewhere)
    with pytest.raises(Contradiction, match="for lab"):
        after(world, succession(told, LAB, lab=LAB.did))


def test_a_succession_is_said_once_and_by_nobody_at_the_door(world: World) -> None:
    name(world, NEXT.did)
    entry = succession(entries(world), LAB)
    state = after(world, entry)
    said = entry.statement
    assert isinstance(said, LabSucceeded)
    with pytest.raises(Contradiction, match="expected"):
        apply(state, said, entry.at_ms + 1)
    with pytest.raises(refusals.WrongLab):
        world.say(envelope(NEXT, said))
    with pytest.raises(refusals.NotAllowed, match="only the lab itself"):
        world.say(envelope(NEXT, said.model_copy(update={"lab": LAB.did})))
    with pytest.raises(refusals.NotAllowed, match="no operator"):
        world.speak(HEIR, SuccessorsNamed, successors=(), ask=())


def test_a_successor_is_succeeded_by_whom_it_names_and_not_by_whom_the_first_did(
    world: World,
) -> None:
    name(world, NEXT.did, THIRD.did)
    told = entries(world)
    first = succession(told, LAB)
    told = [*told, first.to_bytes()]
    for wrong, why in ((THIRD, "none of"), (LAB, "has written this ledger before")):
        again = succession(told, NEXT, successor=wrong)
        with pytest.raises(Contradiction, match=why):
            replay(wrong.did, [*told, again.to_bytes()])
    state = replay(NEXT.did, told)
    said = SuccessorsNamed(
        lab=NEXT.did,
        author=STEWARD.did,
        seq=1,
        successors=(Successor(did=THIRD.did),),
        ask=(),
    )
    admit(state, said, first.at_ms, lambda blob: True)
    named = Entry(first.at_ms, _sealed(STEWARD, said), said)
    told = [*told, named.to_bytes()]
    second = succession(told, NEXT, successor=THIRD)
    state = replay(THIRD.did, [*told, second.to_bytes()])
    assert [each.predecessor for each in state.succeeded] == [LAB.did, NEXT.did]


def _sealed(author: Identity, said: Any) -> Any:
    return Envelope.from_json(envelope(author, said))


def test_what_was_said_to_the_first_lab_says_nothing_to_its_successor(world: World) -> None:
    name(world, NEXT.did)
    node = world.provider("node")
    state = after(world, succession(entries(world), LAB))
    asked = LeaseRequested(lab=LAB.did, author=node.did, seq=10**9, kinds=("rollout",), holding=())
    with pytest.raises(refusals.WrongLab):
        admit(state, asked, world.now_ms, lambda blob: True)
    admit(state, asked.model_copy(update={"lab": NEXT.did}), world.now_ms, lambda blob: True)


def test_a_ledger_is_not_taken_for_another_labs(world: World) -> None:
    name(world, NEXT.did)
    entry = succession(entries(world), LAB)
    for expected in (LAB, THIRD):
        with pytest.raises(Contradiction, match=f"the ledger of {NEXT.did}"):
            after(world, entry, expected)


def test_more_than_half_of_the_shares_that_vote_let_a_run_go_on_and_no_fewer() -> None:
    world = World()
    learner = world.started(charter=charter(), versions=1)
    one, two = world.provider("one"), world.provider("two")
    for each in (one, two):
        each.prove()
    told, run = entries(world), world.run()
    _, needed = agreed_units(world.state, run, frozenset())
    held = {did: agreed_units(world.state, run, frozenset((did,)))[0] for did in _holders(world)}
    assert needed == sum(held.values()) // 2 + 1 < UNITS
    assert max(held.values()) < needed, "nobody has it alone"
    signers = [one.identity, world.operator]
    assert sum(held[each.did] for each in signers) >= needed
    for few in signers:
        with pytest.raises(Contradiction, match=f"{needed} would do"):
            after(world, succession(told, LAB, agreement(told, few, LAB)))
    enough = [agreement(told, each, LAB) for each in signers]
    assert stands(after(world, succession(told, LAB, *enough))) == {"run": "running"}
    again = [agreement(told, signers[0], LAB)] * 2
    with pytest.raises(Contradiction, match="would do"):  # twice the same key is once
        after(world, succession(told, LAB, *again))
    finish(world, learner, [one, two])
    while learner.work() is not None:
        pass
    one.speak(ShareTransferred, run="run", to=HEIR.did, units=10**6)
    one.speak(VoteDelegated, run="run", to=two.did)
    _, needed = agreed_units(world.state, run, frozenset())
    by_two, _ = agreed_units(world.state, world.run(), frozenset((two.did,)))
    owned = world.state.owned["run"].held
    assert by_two == owned[one.did] + owned[two.did], "who delegated agrees with its delegate"
    assert agreed_units(world.state, world.run(), frozenset((TREASURY,)))[0] == 0
    assert world.run().phase is Phase.COMPLETE
    told = entries(world)
    state = after(world, succession(told, LAB, agreement(told, two.identity, LAB)))
    assert state.lab == NEXT.did, "what is over may be looked after"
    world.close()


def _holders(world: World) -> list[str]:
    return [did for did in would_hold(world.state, world.run()) if did != TREASURY]


def test_a_whole_ledger_is_that_of_whoever_says_to_continue_it_and_has_the_nodes_very_run(
    world: World,
) -> None:
    """An address can show one key and another's ledger, and an older prefix has room for another run of the same name."""
    name(world, NEXT.did)
    told = entries(world)
    state = after(world, succession(told, LAB))
    opened = state.runs["plain"].opened
    assert why_not(state, LAB.did, NEXT.did, (opened,)) is None
    assert "is of" in str(why_not(state, LAB.did, THIRD.did, (opened,)))
    assert "was never that of" in str(why_not(state, THIRD.did, NEXT.did, (opened,)))
    other = opened.model_copy(update={"seq": opened.seq + 1})
    assert "none of ['plain'] goes on" in str(why_not(state, LAB.did, NEXT.did, (other,)))
    gone = state.runs["chosen"].opened
    assert "none of ['chosen'] goes on" in str(why_not(state, LAB.did, NEXT.did, (gone,)))
    assert "none of []" in str(why_not(state, LAB.did, NEXT.did, ()))
