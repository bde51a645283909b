"""Landings that a lab has open: for how long, whose they are, how many, and what ends one."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from archipel.blobs.errors import (
    BlobError,
    BlobIncomplete,
    BlobMissing,
    DigestMismatch,
    StorageFailed,
)
from archipel.blobs.landing import Landing, LandingPart
from archipel.lab import landings, refusals
from archipel.lab.landings import LEAST_LIFE_S, LEAST_RATE, LandingDesk
from archipel.lab.uploads import MAX_STREAMS_PER_LEASE, Permit
from archipel.records.statements import BlobOffered
from people import identity, ref
from world import World

MIB = 2**20
FREE = Permit(is_trusted=False)


class Store:
    """What a lab asks of a store whose bytes pass by it, written down."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lives: list[float] = []
        self.landed: list[str] = []
        self.abandoned: list[str] = []
        self.fails: BlobError | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()

    def address(self, digest: str, life_s: int) -> str:
        return digest

    def open(self, digest: str, size: int, life_s: float, *, privileged: bool = False) -> Landing:
        if self.fails is not None:
            raise self.fails
        self.lives.append(life_s)
        until_s = self._world.lab.clock_ms() / 1000 + life_s
        return Landing(
            f"{len(self.lives):032x}", (LandingPart("http://s", 0, size),), True, until_s
        )

    def land(self, name: str, tags: tuple[str, ...]) -> None:
        self.landed.append(name)
        assert self.goes_on.wait(10)
        if self.fails is not None:
            raise self.fails

    def abandon(self, name: str) -> None:
        self.abandoned.append(name)


@pytest.fixture
def store(world: World) -> Store:
    made = Store(world)
    world.blobs.direct = made  # type: ignore[misc,assignment]
    return made


@pytest.fixture
def desk(world: World, store: Store) -> LandingDesk:
    return LandingDesk(world.lab)


def offer(word: str, work: str | None = "w.1", by: str = "node", size: int = MIB) -> BlobOffered:
    blob = ref(word.encode()).model_copy(update={"size": size})
    author = identity(by).did
    return BlobOffered(lab=identity("lab").did, author=author, seq=1, blob=blob, work=work)


def done(story: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(story)


def test_a_landing_is_open_as_long_as_its_bytes_take_and_its_lease_lasts(
    desk: LandingDesk, store: Store
) -> None:
    large = int(2 * LEAST_LIFE_S * LEAST_RATE)
    for size, left_s in ((MIB, None), (large, None), (large, 1000.0), (MIB, 5.0), (large, 1e9)):
        done(desk.open(offer("a", size=size), Permit(is_trusted=False, left_s=left_s)))
    assert store.lives == [LEAST_LIFE_S, 2 * LEAST_LIFE_S, 1000.0, 5.0, 2 * LEAST_LIFE_S]


def test_who_asks_again_or_whose_time_is_over_has_no_landing_any_more(
    world: World, desk: LandingDesk, store: Store
) -> None:
    first = done(desk.open(offer("a"), FREE))
    done(desk.open(offer("b"), FREE))
    done(desk.open(offer("a", by="other"), FREE))
    done(desk.open(offer("a", work="w.2"), FREE))
    assert store.abandoned == []
    again = done(desk.open(offer("a"), FREE))
    assert store.abandoned == [first.name]
    with pytest.raises(refusals.NoLanding):
        done(desk.land(first.name, offer("a"), ()))
    world.tick(int(LEAST_LIFE_S * 1000) - 1)
    done(desk.open(offer("c", work=None), FREE))
    assert store.abandoned == [first.name]
    world.tick(1)
    done(desk.open(offer("d", work=None), FREE))
    assert again.name in store.abandoned
    assert len(store.abandoned) == 5, "and c has some time left"


@pytest.mark.parametrize("other", [{"by": "other"}, {"work": "w.2"}, {"work": None}, {"word": "b"}])
def test_nobody_elses_landing_nor_another_blobs_is_looked_at(
    desk: LandingDesk, store: Store, other: dict[str, Any]
) -> None:
    made = done(desk.open(offer("a"), FREE))
    with pytest.raises(refusals.NoLanding, match="no such landing"):
        done(desk.land(made.name, offer(**({"word": "a"} | other)), ()))
    assert store.landed == []
    assert done(desk.land(made.name, offer("a"), ()))


def test_a_look_that_takes_long_is_asked_for_again_and_done_once(
    desk: LandingDesk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "LOOK_WAIT_S", 0.02)

    async def story() -> None:
        made = await desk.open(offer("a"), FREE)
        store.goes_on.clear()
        assert not await desk.land(made.name, offer("a"), ())
        again = await desk.open(offer("a"), FREE)
        assert store.abandoned == [], "it is looked at just now"
        store.goes_on.set()
        while not await desk.land(made.name, offer("a"), ()):
            pass
        assert store.landed == [made.name]
        assert await desk.land(again.name, offer("a"), ())

    done(story())


def streams_left(world: World, work: str) -> int:
    """How many more uploads of this lease may begin."""
    for num in range(MAX_STREAMS_PER_LEASE + 1):
        try:
            world.lab.uploads.begin(work)
        except refusals.Busy:
            for _ in range(num):
                world.lab.uploads.end(work)
            return num
    raise AssertionError("there is no bound")


@pytest.mark.parametrize(
    ("fails", "told", "is_over"),
    [
        (None, None, True),
        (DigestMismatch("x"), DigestMismatch, True),
        (BlobIncomplete("x"), BlobIncomplete, True),
        (BlobMissing("x"), refusals.NoLanding, True),
        (StorageFailed("x"), StorageFailed, False),
    ],
)
def test_a_landing_counts_as_an_upload_until_it_ends_however_it_does(
    world: World, desk: LandingDesk, store: Store, fails: BlobError | None, told: Any, is_over: bool
) -> None:
    made = done(desk.open(offer("a"), FREE))
    assert streams_left(world, "w.1") == MAX_STREAMS_PER_LEASE - 1
    store.fails = fails
    if told is None:
        assert done(desk.land(made.name, offer("a"), ()))
    else:
        with pytest.raises(told):
            done(desk.land(made.name, offer("a"), ()))
    assert streams_left(world, "w.1") == MAX_STREAMS_PER_LEASE - (not is_over)
    store.fails = None
    if not is_over:
        assert done(desk.land(made.name, offer("a"), ())), "a store that was down is asked again"
        assert streams_left(world, "w.1") == MAX_STREAMS_PER_LEASE


def test_a_landing_that_cannot_be_opened_is_none(
    world: World, desk: LandingDesk, store: Store
) -> None:
    store.fails = StorageFailed("x")
    with pytest.raises(StorageFailed):
        done(desk.open(offer("a"), FREE))
    assert streams_left(world, "w.1") == MAX_STREAMS_PER_LEASE
    world.blobs.direct = None  # type: ignore[misc]
    with pytest.raises(refusals.NoLanding, match="takes all bytes itself"):
        done(desk.open(offer("a"), FREE))


def test_a_lease_opens_so_many_and_is_forgotten_when_it_ends(
    world: World, desk: LandingDesk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "MAX_OFFERS_PER_LEASE", 2)
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    for word in ("a", "b"):
        done(desk.open(offer(word, granted.work), FREE))
    with pytest.raises(refusals.NoLanding, match="2 were opened"):
        done(desk.open(offer("c", granted.work), FREE))
    for word in "def":
        done(desk.open(offer(word, None), FREE))
    node.answer(granted)
    done(desk.open(offer("g", "w.9"), FREE))
    assert dict(desk._opened) == {"w.9": 1}
