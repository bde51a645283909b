"""Keys of nodes under an operator: who is paid, who is known for what, which key may still speak."""

from collections.abc import Iterator

import pytest

from archipel.lab.apply import Contradiction, apply
from archipel.lab.forgetting import forgettable
from archipel.lab.presence import GONE_MS
from archipel.lab.providers import account_of, here_of, keys_of, standing_of
from archipel.lab.refusals import Malformed, NotAllowed, NotJoined, Refused, WronglySigned
from archipel.lab.reputation import Standing
from archipel.lab.snapshots import decode_state, encode_state
from archipel.records.membership import KeyRevoked, Signed
from archipel.records.stakes import StakePut, StakeReturned
from keyring import delegation
from people import Provider, identity
from world import PACE, World

BOSS, OTHER = identity("boss"), identity("other boss")
PRICE = PACE["price_micro"]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.started(versions=8)
    yield made
    made.check_replay()
    made.close()


def node(world: World, name: str, **more: object) -> Provider:
    """A node of the operator, here."""
    made = world.provider(name, 40_000, join=False)
    made.join(delegation=delegation(BOSS, made.did, **more))
    return made


def earned(world: World, provider: Provider) -> int:
    granted = provider.ask()
    assert granted is not None
    provider.answer(granted)
    return granted.price_micro


def revoke(world: World, did: str, by: object = BOSS) -> None:
    world.speak(by, KeyRevoked, node=did, reason="stolen")  # type: ignore[arg-type]


def test_what_an_operators_nodes_earn_is_the_operators(world: World) -> None:
    one, two = node(world, "one"), node(world, "two")
    both = earned(world, one) + earned(world, two)
    assert world.state.book[BOSS.did] == both > 0
    assert not {one.did, two.did} & set(world.state.book)
    assert account_of(world.state, one.did) == account_of(world.state, BOSS.did) == BOSS.did
    assert keys_of(world.state, two.did) == (one.did, two.did)


def test_what_a_node_had_before_goes_to_its_operator_and_nothing_is_lost(world: World) -> None:
    alone = world.provider("alone", 40_000)
    price = earned(world, alone)
    assert world.state.book[alone.did] == price
    alone.join(delegation=delegation(BOSS, alone.did))
    assert alone.did not in world.state.book
    assert world.state.book[BOSS.did] == price
    assert sum(world.state.book.values()) == 0
    assert world.state.nodes[alone.did].standing == Standing()


def test_a_delegation_counts_without_coming_again_and_the_same_one_changes_nothing(
    world: World,
) -> None:
    one = node(world, "one")
    before = world.state.delegations[one.did]
    one.join()
    assert account_of(world.state, one.did) == BOSS.did
    one.join(delegation=delegation(BOSS, one.did))
    assert world.state.delegations[one.did] == before


def test_a_replaced_key_gives_its_work_back_and_speaks_no_more(world: World) -> None:
    old = node(world, "old")
    earned(world, old)
    held = old.ask()
    assert held is not None
    new = node(world, "new", issued_ms=2, replaces=old.did)
    assert held.work not in world.state.leases
    assert not world.state.nodes[old.did].present
    with pytest.raises(NotJoined):
        old.ask()
    with pytest.raises(NotAllowed, match="replaced by"):
        old.join()
    with pytest.raises(NotAllowed, match="new key"):
        old.join(delegation=delegation(BOSS, old.did, issued_ms=3))
    before = world.state.book[BOSS.did]
    assert world.state.book[BOSS.did] - before + earned(world, new) > 0
    assert account_of(world.state, old.did) == BOSS.did, (
        "its answers from before stay the operator's"
    )


def test_a_revoked_key_gives_its_work_back_and_nobody_else_may_revoke_it(world: World) -> None:
    one, stranger = node(world, "one"), world.provider("stranger")
    held = one.ask()
    assert held is not None
    with pytest.raises(NotAllowed, match="no nodes here"):
        revoke(world, one.did, OTHER)
    with pytest.raises(NotAllowed, match="no key of"):
        revoke(world, BOSS.did)
    revoke(world, stranger.did)
    assert stranger.ask() is not None, "who works alone works on"
    revoke(world, one.did)
    assert held.work not in world.state.leases
    with pytest.raises(Refused):
        one.answer(held)
    with pytest.raises(NotAllowed, match="stolen"):
        one.join()
    with pytest.raises(NotAllowed, match="before"):
        revoke(world, one.did)


def test_a_key_can_be_revoked_before_it_ever_came(world: World) -> None:
    node(world, "one")
    stolen = world.provider("stolen", join=False)
    revoke(world, stolen.did)
    with pytest.raises(NotAllowed, match="before it came"):
        stolen.join(delegation=delegation(BOSS, stolen.did))
    with pytest.raises(NotAllowed, match="was revoked before"):
        revoke(world, stolen.did)


def test_a_key_that_works_alone_can_be_revoked_before_it_comes_with_its_delegation(
    world: World,
) -> None:
    node(world, "one")
    stolen = world.provider("stolen", 40_000)
    price = earned(world, stolen)
    revoke(world, stolen.did)
    assert world.state.book[stolen.did] == price, "what it earned is its own"
    assert stolen.ask() is not None
    with pytest.raises(NotAllowed, match="before it came"):
        stolen.join(delegation=delegation(BOSS, stolen.did))
    with pytest.raises(NotAllowed, match="was revoked before"):
        revoke(world, stolen.did)


@pytest.mark.parametrize("is_operated", [False, True])
def test_who_revokes_a_strangers_key_before_it_comes_takes_nothing_from_it(
    world: World, is_operated: bool
) -> None:
    one, victim = node(world, "one"), world.provider("victim", 40_000, join=False)
    revoke(world, victim.did)
    victim.join(**({"delegation": delegation(OTHER, victim.did)} if is_operated else {}))
    owner = OTHER.did if is_operated else victim.did
    price = earned(world, victim)
    assert world.state.book[owner] == price > 0
    assert keys_of(world.state, victim.did) == (victim.did,)
    assert keys_of(world.state, one.did) == (one.did,)
    with pytest.raises(NotAllowed, match=BOSS.did if not is_operated else "new key"):
        victim.join(delegation=delegation(BOSS, victim.did))


def test_a_revoked_or_expired_key_moves_no_stake_of_its_operators(world: World) -> None:
    stolen, late = node(world, "stolen"), node(world, "late", until_ms=world.now_ms + 60_000)
    earned(world, stolen)
    revoke(world, stolen.did)
    world.now_ms += 60_000
    before = world.state.book
    for thief, why in ((stolen, "stolen"), (late, "ended")):
        for kind, fields in ((StakePut, {"micro": 1}), (StakeReturned, {})):
            with pytest.raises(NotAllowed, match=why):
                thief.speak(kind, **fields)  # type: ignore[arg-type]  # one of each
            said = kind(lab=world.state.lab, author=thief.did, seq=2**50, **fields)  # type: ignore[arg-type]
            with pytest.raises(Contradiction, match=why):
                apply(world.state, said, world.now_ms)
    assert world.state.book == before


def test_a_delegation_ends_with_its_time(world: World) -> None:
    until_ms = world.now_ms + 1000
    one = node(world, "one", until_ms=until_ms)
    held = one.ask()
    assert held is not None
    world.now_ms = until_ms
    one.answer(held)  # given in time, and paid
    assert world.state.book[BOSS.did] == held.price_micro
    with pytest.raises(NotAllowed, match="ended"):
        one.ask()
    with pytest.raises(NotAllowed, match="ended"):
        one.join()
    one.join(delegation=delegation(BOSS, one.did, issued_ms=2))
    assert one.ask() is not None


def test_nobody_takes_what_is_not_its_own(world: World) -> None:
    one, stranger = node(world, "one"), world.provider("stranger")
    lone = world.provider("lone", join=False)
    told = {
        "another key's": (lone, delegation(BOSS, stranger.did)),
        "another operator's": (one, delegation(OTHER, one.did, issued_ms=2)),
        "a node's": (lone, delegation(identity("stranger"), lone.did)),
        "a node's of the operator": (lone, delegation(identity("one"), lone.did)),
        "an older one": (one, delegation(BOSS, one.did, issued_ms=0)),
        "another lab's": (lone, delegation(BOSS, lone.did, lab=OTHER.did)),
        "what it replaces": (lone, delegation(BOSS, lone.did, replaces=stranger.did)),
    }
    for said, (provider, given) in told.items():
        with pytest.raises(NotAllowed):
            provider.join(delegation=given)
        assert account_of(world.state, stranger.did) == stranger.did, said
    boss = Provider(world, BOSS)
    with pytest.raises(NotAllowed, match="operator's key"):
        boss.join()


def test_a_delegation_is_believed_by_its_operators_signature_alone(world: World) -> None:
    lone = world.provider("lone", join=False)
    good = delegation(BOSS, lone.did)
    forged = Signed(payload=good.payload, signature=delegation(OTHER, lone.did).signature)
    with pytest.raises(WronglySigned):
        lone.join(delegation=forged)
    with pytest.raises(Malformed):
        lone.join(delegation=Signed(payload=good.payload + " ", signature=good.signature))
    with pytest.raises(Malformed):
        lone.join(invitation=good)
    with pytest.raises(Malformed):
        lone.join(delegation=Signed(payload="{}", signature=good.signature))


def test_an_operators_nodes_are_one_party_among_those_that_are_here(world: World) -> None:
    one, two, gone = node(world, "one"), node(world, "two"), node(world, "gone")
    gone.leave()
    assert here_of(world.state, one.did) == {one.did, two.did}
    assert here_of(world.state, gone.did) == {one.did, two.did, gone.did}
    lone = world.provider("lone")
    assert here_of(world.state, lone.did) == {lone.did}
    assert standing_of(world.state, one.did) == Standing()


def test_a_state_with_operators_is_kept_whole(world: World) -> None:
    earned(world, node(world, "one", until_ms=world.now_ms + 10_000))
    revoke(world, identity("one").did)
    assert decode_state(encode_state(world.state)) == world.state


def test_an_operator_that_never_did_anything_is_forgotten_with_its_nodes_and_one_that_earned_is_not(
    world: World,
) -> None:
    idle = world.provider("idle", join=False)
    idle.join(delegation=delegation(OTHER, idle.did))
    busy = node(world, "busy")
    price = earned(world, busy)
    for each in (idle, busy):
        each.leave()
    world.now_ms += GONE_MS
    said = forgettable(world.state, world.now_ms, 10)
    assert said is not None
    assert {idle.did, busy.did} <= set(said.nodes)
    world.await_(world.lab.say(said))
    state = world.state
    assert OTHER.did not in state.providers
    assert OTHER.did not in state.sequences
    assert state.delegations.keys() == {busy.did}
    assert state.book[account_of(state, busy.did)] == price
    idle.join(delegation=delegation(OTHER, idle.did))
    busy.join()
    assert account_of(world.state, busy.did) == BOSS.did


def forget_all(world: World, *providers: Provider, **fields: str | None) -> None:
    for each in providers:
        each.leave()
    world.now_ms += GONE_MS
    said = forgettable(world.state, world.now_ms, 10)
    assert said is not None
    assert {each.did for each in providers} <= set(said.nodes)
    world.await_(world.lab.say(said.model_copy(update=fields)))


@pytest.mark.parametrize("came", [False, True])
def test_a_revocation_outlasts_the_nodes_of_who_said_it(world: World, came: bool) -> None:
    idle, stolen = world.provider("idle", join=False), world.provider("stolen", join=False)
    idle.join(delegation=delegation(OTHER, idle.did))
    if came:
        stolen.join(delegation=delegation(OTHER, stolen.did))
    revoke(world, stolen.did, OTHER)
    forget_all(world, idle)
    assert not world.state.nodes.keys() & {idle.did, stolen.did}
    with pytest.raises(NotAllowed, match="stolen" if came else "before it came"):
        stolen.join(delegation=delegation(OTHER, stolen.did, issued_ms=2))
    with pytest.raises(NotAllowed, match="was revoked before"):
        revoke(world, stolen.did, OTHER)


def test_a_ledger_that_forgot_revocations_folds_as_it_was_written(world: World) -> None:
    idle, stolen = world.provider("idle", join=False), world.provider("stolen", join=False)
    idle.join(delegation=delegation(OTHER, idle.did))
    revoke(world, stolen.did, OTHER)
    forget_all(world, idle, revocations=None)  # before there was such a field
    assert OTHER.did not in world.state.providers
    stolen.join(delegation=delegation(OTHER, stolen.did))


def test_an_operator_that_revoked_nothing_is_forgotten_as_ever(world: World) -> None:
    idle = world.provider("idle", join=False)
    idle.join(delegation=delegation(OTHER, idle.did))
    forget_all(world, idle, revocations="kept")
    assert OTHER.did not in world.state.providers
    assert not world.state.delegations


def test_those_who_only_revoked_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """Who comes to fill it drives nobody out who was there before."""
    monkeypatch.setattr("archipel.lab.forgetting.MAX_REVOKERS", 1)
    early = world.provider("early", join=False)
    early.join(delegation=delegation(OTHER, early.did))
    revoke(world, identity("stolen").did, OTHER)
    forget_all(world, early)
    flood = [identity("flood 1"), identity("flood 2")]
    for each in flood:
        key = world.provider(f"{each.did} node", join=False)
        key.join(delegation=delegation(each, key.did))
        revoke(world, identity("whoever").did, each)
        forget_all(world, key)
    assert set(world.state.providers) & {OTHER.did, *(each.did for each in flood)} == {OTHER.did}


def test_an_operator_has_a_bounded_number_of_keys(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.keys.MAX_KEYS_PER_OPERATOR", 2)
    one = node(world, "one")
    revoke(world, one.did)
    two = node(world, "two")
    two.join(delegation=delegation(BOSS, two.did, issued_ms=2))
    with pytest.raises(NotAllowed, match="2 keys"):
        node(world, "three")
    with pytest.raises(NotAllowed, match="2 keys"):
        revoke(world, identity("never here").did)
