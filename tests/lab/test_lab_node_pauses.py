"""A paused node is given no work of any kind; what it holds is answered and paid; only who it belongs to may say so."""

import asyncio
from collections.abc import Iterator

import pytest

from archipel.lab import node_pauses
from archipel.lab.apply import Contradiction, apply
from archipel.lab.company import crowds
from archipel.lab.decide import may_be_given_more
from archipel.lab.forgetting import forgettable
from archipel.lab.presence import GONE_MS
from archipel.lab.refusals import NodeIsPaused, NotAllowed
from archipel.lab.snapshots import ENCODERS, decode_state, encode_state
from archipel.lab.views import node_view
from archipel.records.membership import KeyRevoked, NodePaused, NodeResumed
from archipel.records.statements import LeaseGranted, LeaseRequested, NodeLeft
from door import Door
from keyring import delegation
from people import Provider, envelope, identity
from trading import TERMS, exchange_at
from world import World

BOSS, OTHER = identity("boss"), identity("other boss")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.started(versions=8)
    yield made
    made.check_replay()
    made.close()


def node(world: World, name: str = "one") -> Provider:
    """A node of the operator, here."""
    made = world.provider(name, 40_000, join=False)
    made.join(delegation=delegation(BOSS, made.did))
    return made


def pause(world: World, provider: Provider, by: object = BOSS) -> None:
    world.speak(by, NodePaused, node=provider.did, reason="the room is hot")  # type: ignore[arg-type]


def resume(world: World, provider: Provider, by: object = BOSS) -> None:
    world.speak(by, NodeResumed, node=provider.did)  # type: ignore[arg-type]


def test_a_paused_node_gets_nothing_answers_what_it_holds_and_goes_on_when_resumed(
    world: World,
) -> None:
    one, two = node(world), world.provider("two", 40_000)
    held = one.ask()
    assert held is not None
    pause(world, one)
    assert one.ask() is None
    one.answer(held)
    assert world.state.book[BOSS.did] == held.price_micro > 0
    assert one.ask() is None
    assert two.ask() is not None, "others work on"
    resume(world, one)
    assert one.ask() is not None


def test_only_its_operator_or_itself_without_one_has_a_say(world: World) -> None:
    one, alone = node(world), world.provider("alone", 40_000)
    for who in (OTHER, one.identity, world.operator):
        with pytest.raises(NotAllowed, match="may not say"):
            pause(world, one, who)
    with pytest.raises(NotAllowed, match="may not say"):
        pause(world, alone, BOSS)
    pause(world, alone, alone.identity)
    with pytest.raises(NotAllowed, match="paused already"):
        pause(world, alone, alone.identity)
    with pytest.raises(NotAllowed, match="may not say"):
        resume(world, alone, OTHER)
    resume(world, alone, alone.identity)
    with pytest.raises(NotAllowed, match="not paused"):
        resume(world, alone, alone.identity)
    with pytest.raises(NotAllowed, match="no node"):
        world.speak(BOSS, NodePaused, node=OTHER.did, reason="")


def test_a_ledger_that_grants_work_to_a_paused_node_contradicts_itself(world: World) -> None:
    one = node(world)
    held = one.ask()
    assert held is not None
    one.answer(held)
    before = world.state
    granted = one.ask()
    assert isinstance(granted, LeaseGranted)
    at_ms = world.now_ms
    assert apply(before, granted, at_ms).leases, "it could follow"
    said = world.statement(BOSS, NodePaused, node=one.did, reason="")
    with pytest.raises(Contradiction, match="is paused"):
        apply(apply(before, said, at_ms), granted, at_ms)  # type: ignore[arg-type]


def test_others_cannot_be_paused_by_a_statement_in_a_ledger(world: World) -> None:
    one = node(world)
    for who in (OTHER, one.identity):
        said = world.statement(who, NodePaused, node=one.did, reason="")
        with pytest.raises(Contradiction, match="may not say"):
            apply(world.state, said, world.now_ms)  # type: ignore[arg-type]


def test_leaving_and_coming_back_end_no_pause_and_a_revoked_key_has_none(world: World) -> None:
    one = node(world)
    pause(world, one)
    one.speak(NodeLeft)
    one.join()
    assert one.ask() is None
    world.restart()
    assert one.did in world.state.paused
    world.speak(BOSS, KeyRevoked, node=one.did, reason="sold")
    assert not world.state.paused
    with pytest.raises(NotAllowed, match="revoked"):
        pause(world, one)


def test_who_is_forgotten_is_paused_no_more(world: World) -> None:
    alone = world.provider("alone")
    pause(world, alone, alone.identity)
    alone.speak(NodeLeft)
    world.now_ms += GONE_MS + 1
    said = forgettable(world.state, world.now_ms, 10)
    assert said is not None
    assert alone.did in said.nodes
    assert not apply(world.state, said, world.now_ms).paused


def test_a_paused_node_is_counted_nowhere_as_one_that_works(world: World) -> None:
    one = node(world)
    assert may_be_given_more(world.state, one.did, world.now_ms)
    assert crowds(world.state, world.now_ms)["rollout"].count == 1
    pause(world, one)
    assert "rollout" not in crowds(world.state, world.now_ms)
    assert not may_be_given_more(world.state, one.did, world.now_ms)


def test_it_is_told_in_words_and_a_view_says_why(world: World) -> None:
    one = node(world)
    node_pauses.tell(world.state, one.did)
    pause(world, one)
    with pytest.raises(NodeIsPaused, match=f"{BOSS.did} paused this node .the room is hot."):
        node_pauses.tell(world.state, one.did)
    assert (
        node_view(world.state, world.state.nodes[one.did], world.now_ms).paused == "the room is hot"
    )


def test_a_pause_is_in_a_snapshot_and_a_state_without_one_has_the_bytes_it_had(
    world: World,
) -> None:
    one = node(world)
    pause(world, one)
    assert decode_state(encode_state(world.state)) == world.state
    assert b'paused":{"' not in ENCODERS[8](world.state)
    resume(world, one)
    assert b'"paused":{}' in encode_state(world.state)
    assert b'"paused":{}' not in ENCODERS[8](world.state)


def test_a_market_passes_over_a_paused_node_and_takes_its_award_back() -> None:
    world = World()
    trade = exchange_at(world)
    nodes = dict(zip("abc", trade.measured("a", "b", "c"), strict=True))
    last = trade.sell(a=300_000, b=400_000, c=800_000)
    assert set(last.awards) >= {nodes["a"].did}
    pause(world, nodes["a"], nodes["a"].identity)
    assert nodes["a"].did not in trade.market.last.awards
    world.now_ms += TERMS.period_ms
    last = trade.sell(a=300_000, b=400_000, c=800_000)
    assert last.awards
    assert nodes["a"].did not in last.awards, "its bid is in the book, and passed over"
    assert nodes["a"].did in last.book
    resume(world, nodes["a"], nodes["a"].identity)
    world.now_ms += TERMS.period_ms
    assert nodes["a"].did in trade.sell(a=300_000, b=400_000, c=800_000).awards
    world.check_replay()
    world.close()


def test_who_waits_for_work_is_sent_off_when_paused_and_served_when_resumed(world: World) -> None:
    one = node(world)
    held = one.ask()
    assert held is not None
    one.answer(held)
    lab = world.lab

    async def waiting() -> "asyncio.Task[object]":
        said = world.statement(one.identity, LeaseRequested, kinds=("evaluate",), holding=())
        asked = asyncio.ensure_future(lab.lease(envelope(one.identity, said), 20))
        await asyncio.sleep(0.01)
        assert not asked.done(), "it waits: nothing is to be evaluated"
        return asked

    async def story() -> None:
        asked = await waiting()
        said = world.statement(BOSS, NodePaused, node=one.did, reason="")
        await lab.submit(envelope(BOSS, said))
        assert await asyncio.wait_for(asked, 1) is None
        said = world.statement(one.identity, LeaseRequested, kinds=("rollout",), holding=())
        asked = asyncio.ensure_future(lab.lease(envelope(one.identity, said), 20))
        await asyncio.sleep(0.01)
        assert not asked.done(), "there is work, for others"
        await lab.submit(envelope(BOSS, world.statement(BOSS, NodeResumed, node=one.did)))
        assert await asyncio.wait_for(asked, 1) is not None

    world.await_(story())


def test_over_http_a_paused_node_that_waited_in_vain_is_told_in_words(world: World) -> None:
    one = node(world)
    pause(world, one)
    door = Door(world)
    said = world.statement(one.identity, LeaseRequested, kinds=("rollout",), holding=())
    answer = door.ask(envelope(one.identity, said))
    door.close()
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/node-paused")
    assert "archipel operator resume" in answer.json()["detail"]
