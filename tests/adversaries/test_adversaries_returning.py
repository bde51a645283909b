"""What was taken out of a run, or lies damaged in a node's cache, does not come back as if nothing had been."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.blobs import BlobStore
from archipel.lab import refusals
from archipel.lab.audits import audits
from archipel.lab.cases import Outcome
from archipel.lab.programmes import rl
from archipel.node.client import LabClient
from archipel.records.rollouts import Rollout
from archipel.records.statements import LeaseGranted, WorkAnswered
from courtroom import check_money, draw, node, opened, sampled, settled
from live import live
from people import Cheat, Provider, envelope, identity, ref
from world import World


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    check_money(found)
    found.close()


class Recording(Cheat):
    """A cheat that keeps what it said and the bytes of it."""

    def put(self, data: bytes):
        self.sold = data
        return super().put(data)

    def answer(self, grant: LeaseGranted, **lies):
        fields = self.answer_fields(grant, **lies)
        statement = self.world.statement(self.identity, WorkAnswered, **fields)
        self.said = envelope(self.identity, statement)
        self.leases.pop(grant.work, None)
        return self.world.say(self.said)


class Reseller(Provider):
    """A friend's key that offers the withdrawn answer's tokens for the same group, under its own lease."""

    tokens: list[list[Rollout]]

    def sampled(self, grant: LeaseGranted) -> list[list[Rollout]]:
        return self.tokens


def withdrawn(world: World) -> tuple[Recording, LeaseGranted, list[Provider]]:
    """An answer that a hard verdict took out of its batch before anybody learned from it."""
    opened(world, max_groups_per_lease=1)
    cheat = node(world, "cheat", Recording)
    assert isinstance(cheat, Recording)
    others = [node(world, "first"), node(world, "second")]
    granted = sampled(world, cheat)
    draw(world)
    assert settled(world, granted.work, *others).outcome is Outcome.HARD
    assert granted.work in audits(world.run()).withdrawn
    return cheat, granted, others


def test_a_withdrawn_answer_said_again_is_refused_whoever_brings_it(world: World) -> None:
    cheat, granted, (first, _) = withdrawn(world)
    size, book = world.lab.log.size, world.state.book
    for _ in range(2):
        with pytest.raises(refusals.Refused):
            world.say(cheat.said)
    with pytest.raises(refusals.Refused):
        cheat.answer(granted)
    stolen = first.answer_fields(granted)
    with pytest.raises(refusals.Refused):
        first.speak(WorkAnswered, **stolen)
    assert (world.lab.log.size, world.state.book) == (size, book)


def test_its_group_is_sampled_again_and_its_bytes_are_no_answer_to_that(world: World) -> None:
    """The same noise asks for the same tokens, so the honest answer is another one than was withdrawn."""
    cheat, granted, others = withdrawn(world)
    (group,) = granted.spec.groups
    friend = node(world, "friend", Reseller)
    assert isinstance(friend, Reseller)
    friend.kinds = ("rollout",)
    again = friend.ask()
    assert again is not None
    assert again.spec.groups == (group,)
    assert again.work != granted.work
    held, friend.tokens = dict(friend.leases), cheat.sampled(granted)
    with pytest.raises(refusals.Refused, match="work"):
        friend.answer(again, result=friend.put(cheat.sold))
    friend.leases = held
    friend.answer(again)
    draw(world)
    assert settled(world, again.work, *others).outcome is Outcome.HARD
    assert rl.course(world.run()).accepted.get(group) is None
    once_more = sampled(world, others[0])
    assert once_more.spec.groups == (group,)
    draw(world)
    assert rl.course(world.run()).accepted[group] == once_more.work


DATA = [bytes([number]) * 20_000 for number in (1, 2)]
HARMS = {
    "swapped": (DATA[1], DATA[0]),
    "truncated": (DATA[0][:-1], DATA[1]),
    "longer": (DATA[0] + b"x", DATA[1]),
    "emptied": (b"", DATA[1]),
    "a bit": (bytes([DATA[0][0] ^ 1]) + DATA[0][1:], DATA[1]),
}


def harmed(folder: Path, found: tuple[bytes, bytes]) -> BlobStore:
    """What a process finds whose predecessor had both blobs, when somebody or the disk has changed them since."""
    before = BlobStore(folder, is_lasting=False)
    for data, left in zip(DATA, found, strict=True):
        path = before.path(before.put_bytes(data))
        path.chmod(0o600)
        path.write_bytes(left)
    return BlobStore(folder, is_lasting=False)


def test_a_blob_that_was_changed_in_a_nodes_cache_is_never_used(tmp_path: Path) -> None:
    """Nothing there waits for the disk, so a process that starts hashes what it finds; and fetches it again."""
    world = World(tmp_path / "lab", ledger_on_disk=False)
    for data in DATA:
        world.blobs.put_bytes(data)
    stores = {name: harmed(tmp_path / name, found) for name, found in HARMS.items()}

    async def story() -> dict[str, list[bytes]]:
        fetched: dict[str, list[bytes]] = {}
        async with live(world) as url:
            client = LabClient(url, identity("node"))
            for name, store in stores.items():
                paths = [await client.fetch(ref(data), store) for data in DATA]
                fetched[name] = [await asyncio.to_thread(each.read_bytes) for each in paths]
            await client.close()
        return fetched

    assert world.await_(story()) == dict.fromkeys(HARMS, DATA)
    assert all(store.used().total_bytes == 40_000 for store in stores.values())
    world.close()
