"""Who may join: the list, invitations, efforts, places; and that no ledger lets in whom its own rule kept out."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.identity import Identity
from archipel.lab.apply import Contradiction, apply
from archipel.lab.joining import is_known
from archipel.lab.newcomers import KEYS_PER_OPERATOR
from archipel.lab.refusals import Busy, NotAllowed, Refused
from archipel.records.membership import (
    Effort,
    JoiningRuled,
    effort_bits,
    effort_prefix,
    find_nonce,
)
from archipel.records.statements import NodeJoined
from keyring import delegation, invitation
from people import Provider, identity
from world import World

BOSS = identity("boss")
BITS = 6


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.check_replay()
    made.close()


def rule(world: World, policy: str = "open", by: Identity | None = None, **more: object) -> None:
    fields = {"allowed": (), "effort_bits": 0, "places": 100} | more
    world.speak(by or world.operator, JoiningRuled, policy=policy, **fields)


def stranger(world: World, name: str = "stranger") -> Provider:
    return world.provider(name, join=False)


def effort(world: World, did: str, bits: int = BITS) -> Effort:
    head = world.lab.log.head
    root = f"sha256:{head.root.hex()}"
    nonce = find_nonce(effort_prefix(world.state.lab, did, root), bits, 0, 2**16)
    assert nonce is not None
    return Effort(size=head.size, root=root, nonce=nonce)


def test_only_an_operator_of_the_lab_makes_the_rule(world: World) -> None:
    with pytest.raises(NotAllowed, match="no operator"):
        rule(world, by=BOSS)


def test_a_list_lets_in_keys_and_all_nodes_of_the_operators_on_it(world: World) -> None:
    listed, lone = stranger(world, "listed"), stranger(world)
    of_boss = stranger(world, "of boss")
    rule(world, "listed", allowed=(listed.did, BOSS.did))
    listed.join()
    of_boss.join(delegation=delegation(BOSS, of_boss.did))
    with pytest.raises(NotAllowed, match="list"):
        lone.join()
    with pytest.raises(NotAllowed, match="list"):
        lone.join(invitation=invitation(world.operator, world.state.lab, world.now_ms + 9))


def test_who_is_here_stays_and_so_do_the_labs_own(world: World) -> None:
    here = world.provider("here")
    world.open_run()
    rule(world, "listed", effort_bits=BITS)
    here.join()
    world.learner()
    Provider(world, world.operator).join()


def test_an_invitation_lets_in_as_many_as_it_says_until_its_time(world: World) -> None:
    rule(world, "invited")
    until_ms = world.now_ms + 1000
    given = invitation(world.operator, world.state.lab, until_ms, uses=2)
    first, second, third = (stranger(world, name) for name in ("a", "b", "c"))
    with pytest.raises(NotAllowed, match="without one"):
        first.join()
    first.join(invitation=given)
    first.join(invitation=given)  # who is known uses none up
    second.join(invitation=given)
    with pytest.raises(NotAllowed, match="2 times of 2"):
        third.join(invitation=given)
    late = invitation(identity("lab"), world.state.lab, until_ms, name="0" * 16)
    world.now_ms = until_ms
    with pytest.raises(NotAllowed, match="held until"):
        third.join(invitation=late)


def test_invitations_that_are_over_are_forgotten_once_there_are_many_and_those_in_use_never(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """A newcomer waits rather than that an invitation of others could be used again."""
    monkeypatch.setattr("archipel.lab.joining.MAX_INVITATIONS", 2)
    rule(world, "invited")
    until_ms = world.now_ms + 1000

    def come(name: str, number: int, until_ms: int) -> None:
        given = invitation(world.operator, world.state.lab, until_ms, name=f"{number:016x}")
        stranger(world, name).join(invitation=given)

    come("a", 1, until_ms)
    come("b", 2, until_ms + 1000)
    with pytest.raises(Busy, match="2 invitations are in use"):
        come("c", 3, until_ms + 1000)
    assert len(world.state.invited) == 2
    world.now_ms = until_ms
    come("c", 3, until_ms + 1000)
    assert set(world.state.invited) == {f"{number:016x}" for number in (2, 3)}
    with pytest.raises(NotAllowed, match="1 times of 1"):
        come("d", 2, until_ms + 1000)


def test_one_invitation_is_enough_for_an_operators_nodes_as_far_as_there_are_places(
    world: World,
) -> None:
    rule(world, "invited", places=2)
    given = invitation(world.operator, world.state.lab, world.now_ms + 9)
    one, two, three = (stranger(world, name) for name in ("a", "b", "c"))
    one.join(delegation=delegation(BOSS, one.did), invitation=given)
    two.join(delegation=delegation(BOSS, two.did))
    with pytest.raises(NotAllowed, match="2 places"):
        three.join(delegation=delegation(BOSS, three.did))
    three.join(delegation=delegation(BOSS, three.did, replaces=one.did))
    two.leave()
    four = stranger(world, "d")
    four.join(delegation=delegation(BOSS, four.did))
    with pytest.raises(NotAllowed, match="2 places"):
        two.join()


@pytest.mark.parametrize("by", ["stranger", "another lab's"])
def test_an_invitation_by_nobody_of_the_lab_is_none(world: World, by: str) -> None:
    rule(world, "invited")
    lab = world.state.lab if by == "stranger" else identity("other lab").did
    host = BOSS if by == "stranger" else world.operator
    lone = stranger(world)
    with pytest.raises(NotAllowed, match="not by this lab"):
        lone.join(invitation=invitation(host, lab, world.now_ms + 9))


def test_a_newcomer_brings_an_effort_for_this_key_and_lab_over_a_recent_head(world: World) -> None:
    rule(world, effort_bits=BITS)
    lone, other = stranger(world), stranger(world, "other")
    with pytest.raises(NotAllowed, match="got none"):
        lone.join()
    done = effort(world, other.did)
    while effort_bits(world.state.lab, lone.did, done) >= BITS:
        other = stranger(world, other.did)
        done = effort(world, other.did)
    with pytest.raises(NotAllowed, match="bits, expected"):
        lone.join(effort=done)
    good = effort(world, lone.did)
    for wrong in ({"size": good.size + 1}, {"root": "sha256:" + "0" * 64}):
        with pytest.raises(Refused):
            lone.join(effort=good.model_copy(update=wrong))
    lone.join(effort=good)


def test_an_effort_cannot_be_prepared_for_ever(world: World) -> None:
    rule(world, effort_bits=BITS)
    lone, busy = stranger(world), stranger(world, "busy")
    kept = effort(world, lone.did)
    busy.join(effort=effort(world, busy.did))
    world.now_ms += 3_600_001
    with pytest.raises(NotAllowed, match="recent"):
        lone.join(effort=kept)
    lone.join(effort=effort(world, lone.did))


def test_no_ledger_lets_in_whom_its_own_rule_kept_out(world: World) -> None:
    rule(world, "invited")
    lone = stranger(world)
    joined = world.statement(
        lone.identity, NodeJoined, capabilities=world.provider("x", join=False).capabilities
    )
    assert not is_known(world.state, joined)
    with pytest.raises(Contradiction, match="invitation"):
        apply(world.state, joined, world.now_ms)


def test_one_operators_new_keys_are_counted_together(world: World) -> None:
    burst = int(KEYS_PER_OPERATOR.burst)
    nodes = [stranger(world, f"key {number}") for number in range(burst + 1)]
    for one in nodes[:burst]:
        one.join(delegation=delegation(BOSS, one.did))
    nodes[0].join()  # no new key
    with pytest.raises(Busy, match="keys of"):
        nodes[burst].join(delegation=delegation(BOSS, nodes[burst].did))
    stranger(world).join()


@settings(max_examples=20)
@given(st.integers(0, 10), st.text("0123456789abcdef", min_size=4, max_size=4))
def test_a_nonce_that_is_found_has_the_bits_that_were_asked_for(bits: int, key: str) -> None:
    nonce = find_nonce(effort_prefix("lab", key, "root"), bits, 0, 2**15)
    if nonce is not None:
        assert (
            effort_bits("lab", key, Effort.model_construct(size=1, root="root", nonce=nonce))
            >= bits
        )
