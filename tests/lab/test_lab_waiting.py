"""Who waits for work: first come, first served over all queues, and nobody is looked at in vain."""

import asyncio
from collections.abc import Callable

import pytest

from archipel.lab import leasing, waiting
from archipel.lab.decide import grant
from archipel.lab.waiting import Waiter, Waiting
from archipel.records.statements import LeaseGranted, LeaseRequested
from people import Provider, identity
from world import PACE, World

MIXED, PLAIN = ("evaluate", "rollout"), ("rollout",)


def in_a_loop(story: Callable[[Waiting, Callable[..., Waiter]], None]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()

        def come(name: str, *kinds: str) -> Waiter:
            did = identity(name).did
            asked = LeaseRequested(lab=did, author=did, seq=1, kinds=kinds or PLAIN, holding=())
            waiter = Waiter(asked, loop.create_future())
            queue.join(waiter)
            return waiter

        queue = Waiting()
        story(queue, come)

    asyncio.run(run())


def test_whoever_came_first_is_named_first_whatever_else_it_does() -> None:
    def story(queue: Waiting, come: Callable[..., Waiter]) -> None:
        came = [come(f"node {n}", *(MIXED if n % 3 else PLAIN)) for n in range(9)]
        assert list(queue.able({"rollout"})) == came
        assert list(queue.able({"evaluate"})) == [each for n, each in enumerate(came) if n % 3]

    in_a_loop(story)


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_places_may_be_given_up_while_the_queue_is_gone_through(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(waiting, "LOOKED_AT_ONCE", at_once)

    def story(queue: Waiting, come: Callable[..., Waiter]) -> None:
        came = [come(f"node {n}", *(MIXED if n % 2 else PLAIN)) for n in range(12)]
        named = []
        for waiter in queue.able({"rollout"}):
            named.append(waiter)
            (queue.leave if len(named) % 2 else queue.set_aside)(waiter)
        assert named == came
        assert list(queue.able({"rollout"})) == []
        assert len(queue) == 6, "who stands aside still waits"

    in_a_loop(story)


def test_of_those_that_are_called_whoever_stands_in_line_is_named_in_order() -> None:
    def story(queue: Waiting, come: Callable[..., Waiter]) -> None:
        came = [come(f"node {n}", *(MIXED if n % 2 else PLAIN)) for n in range(6)]
        queue.set_aside(came[2])
        called = frozenset(each.request.author for each in came[1:4]) | {"nobody"}
        assert queue.standing(called) == [came[1], came[3]]
        queue.take_back(came[2].request.author)
        queue.leave(came[1])
        assert queue.standing(called) == [came[3], came[2]]

    in_a_loop(story)


def test_who_stands_aside_is_not_named_and_comes_back_behind_the_others() -> None:
    def story(queue: Waiting, come: Callable[..., Waiter]) -> None:
        first, second = come("first"), come("second")
        queue.set_aside(first)
        assert list(queue.able(PLAIN)) == [second]
        assert queue.of(first.request.author) is first
        assert queue.all() == [first, second]
        queue.take_back(second.request.author)
        queue.take_back(first.request.author)
        assert list(queue.able(PLAIN)) == [second, first]
        queue.set_aside(second)
        queue.leave(second)
        queue.take_back_all()
        assert (len(queue), list(queue.able(PLAIN))) == (1, [first])

    in_a_loop(story)


def looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everybody for whom a lease is looked for, from now on."""
    found: list[str] = []

    def watched(state, request, *more) -> LeaseGranted | None:  # type: ignore[no-untyped-def]  # as `grant`
        found.append(request.author)
        return grant(state, request, *more)

    monkeypatch.setattr(leasing, "grant", watched)
    return found


async def waits(world: World, node: Provider) -> "asyncio.Task[object]":
    task = asyncio.create_task(world.lab.lease(node.request(), 30.0))
    await asyncio.sleep(0)
    return task


def test_nodes_without_room_are_looked_at_once_and_again_when_a_lease_of_theirs_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=64)
    nodes = [world.provider(f"node {n}") for n in range(5)]
    assert None not in [node.ask() for node in nodes], "a stranger may hold one"
    found = looked_at(world, monkeypatch)

    async def story() -> None:
        tasks = [await waits(world, node) for node in nodes]
        assert found == [node.did for node in nodes], "each when it came, and no other with it"
        found.clear()
        for number in range(3):
            await world.lab.submit(joining(world, f"newcomer {number}"))
        assert found == []
        nodes[3].give_back(next(iter(nodes[3].leases)))
        assert await asyncio.wait_for(tasks[3], 10.0) is not None
        assert found == [nodes[3].did]
        world.lab.close()
        assert [await task for task in tasks[:3]] == [None] * 3
        await asyncio.gather(*tasks)

    world.await_(story())


def joining(world: World, name: str) -> bytes:
    sent: list[bytes] = []
    provider = Provider(world, identity(name))
    say, world.say = world.say, sent.append  # type: ignore[method-assign,assignment]  # not said yet
    try:
        provider.join()
    finally:
        world.say = say  # type: ignore[method-assign]  # as before
    return sent[0]


@pytest.mark.parametrize("end", ["answered", "expired", "joined", "fallen back"])
def test_whatever_ends_a_lease_lets_its_node_have_more(world: World, end: str) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=64)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None

    async def story() -> None:
        task = await waits(world, node)
        assert not task.done()
        if end == "answered":
            node.answer(granted)
        elif end == "expired":
            world.now_ms += PACE["min_deadline_ms"] + 1
            world.lab.expire_leases()
        elif end == "joined":
            await world.lab.submit(joining(world, "node"))
        else:
            assert world.lab._leasing._waiting._aside
            world.lab._leasing.begin_anew()
            assert not world.lab._leasing._waiting._aside
            return
        assert await asyncio.wait_for(task, 10.0) is not None

    world.await_(story())
