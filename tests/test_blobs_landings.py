"""Landings in a store, by their rules alone: a bucket in memory, a clock that is set, no server."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from archipel.blobs import s3_landings
from archipel.blobs.errors import (
    BlobBusy,
    BlobIncomplete,
    BlobMissing,
    BlobTooLarge,
    DigestMismatch,
    StorageFailed,
    StorageFull,
)
from archipel.blobs.landing import Landing
from archipel.blobs.s3_direct import Head, Request, checksum_of
from archipel.blobs.s3_index import Index
from archipel.blobs.s3_landings import MAX_LIFE_S, MAX_PARTS, PART_BYTES, WHOLE_BYTES, Landings
from archipel.blobs.store import MAX_BLOB_BYTES

DATA = b"some bytes"
HEX = hashlib.sha256(DATA).hexdigest()
DIGEST = f"sha256:{HEX}"
ROOM = 1000


class Bucket:
    """Of a store that refuses bytes of another checksum, or takes anything, or does not say what it has."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.place = SimpleNamespace(prefix="lab/")
        self.held: dict[str, bytes] = {}
        self.uploads: set[str] = set()
        self.signed: list[tuple[str, Request, int]] = []
        self.calls: list[str] = []
        self.is_down = False

    def address(self, key: str, request: Request, life_s: int) -> str:
        self.signed.append((key, request, life_s))
        return f"http://s/{key}?{len(self.signed)}"

    def head(self, key: str) -> Head:
        self.calls.append(f"head {key}")
        if key not in self.held:
            raise BlobMissing(key)
        told = "" if self.way == "silent" else hashlib.sha256(self.held[key]).hexdigest()
        return Head(len(self.held[key]), told)

    def put(self, key: str, sent: Any) -> None:
        if self.is_down:
            raise StorageFailed("down")
        is_other = sent.headers != checksum_of(hashlib.sha256(sent.body).hexdigest())
        if is_other and self.way == "refusing":
            raise StorageFailed("400")
        self.held[key] = sent.body

    def begin_parts(self, key: str) -> str:
        self.uploads.add(f"up-{key}")
        return f"up-{key}"

    def end_parts(self, key: str, upload: str, tags: list[str]) -> None:
        self.calls.append("end_parts")
        if upload not in self.uploads:
            raise BlobMissing(key)
        self.uploads.discard(upload)

    def give_up(self, key: str, upload: str) -> None:
        self.uploads.discard(upload)

    def delete(self, key: str) -> None:
        self.held.pop(key, None)

    def copy(self, source: str, target: str, size: int) -> None:
        if self.is_down:
            raise StorageFailed("down")
        self.held[target] = self.held[source]

    @contextmanager
    def reading(self, key: str, start: int, size: int) -> Iterator[Iterator[bytes]]:
        yield iter([self.held[key][:4], self.held[key][4:]])


class Desk:
    """A store's landings at a time that is set."""

    def __init__(self, way: str = "refusing") -> None:
        self.bucket, self.index, self.now_s = Bucket(way), Index(ROOM, 0), 100.0
        self.landings = Landings(self.bucket, self.index, self.key_of, lambda: self.now_s)  # type: ignore[arg-type]  # a bucket in memory

    def key_of(self, digest: str) -> str:
        return f"lab/{digest[7:]}"

    def open(self, size: int = len(DATA), life_s: float = 60.0) -> Landing:
        return self.landings.open(DIGEST, size, life_s)

    @property
    def room(self) -> int:
        return self.index.room(privileged=True)

    def send(self, data: bytes = DATA) -> str:
        """Put bytes where the newest address says."""
        key = self.bucket.signed[-1][0]
        self.bucket.held[key] = data
        return key


def test_a_store_that_refuses_other_bytes_is_tried_once_and_takes_a_blob_by_one_request() -> None:
    desk = Desk()
    made = desk.open()
    assert made.is_hashed
    assert [(each.start, each.stop) for each in made.parts] == [(0, len(DATA))]
    assert (made.until_s, desk.room) == (160.0, ROOM - len(DATA))
    key, request, life_s = desk.bucket.signed[-1]
    assert key == f"lab/incoming/{HEX}.{made.name}"
    assert request == Request("PUT", {}, {"content-length": str(len(DATA))} | checksum_of(HEX))
    assert life_s == 60
    assert desk.bucket.held == {}, "nothing is left of the trial"
    num = len(desk.bucket.calls)
    desk.open()
    assert len(desk.bucket.calls) == num


@pytest.mark.parametrize("way", ["anything", "silent"])
def test_a_store_that_takes_anything_or_says_nothing_has_its_bytes_read(way: str) -> None:
    desk = Desk(way)
    made = desk.open()
    assert not made.is_hashed
    assert desk.bucket.held == {}
    key, request, _ = desk.bucket.signed[-1]
    assert request.query == {"partNumber": "1", "uploadId": f"up-{key}"}
    assert request.headers == {"content-length": str(len(DATA))}
    desk.send()
    desk.landings.land(made.name, ("tag",))
    assert desk.bucket.held == {f"lab/{HEX}": DATA}
    assert desk.index.size(DIGEST) == len(DATA)
    other = desk.open()
    desk.send(DATA[::-1])
    with pytest.raises(DigestMismatch):
        desk.landings.land(other.name, ("tag",))


def test_a_large_blob_lands_in_parts_that_are_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk("anything")
    monkeypatch.setattr(s3_landings, "PART_BYTES", 4)
    made = desk.open()
    assert [(each.start, each.stop) for each in made.parts] == [(0, 4), (4, 8), (8, 10)]
    assert [each[1].query["partNumber"] for each in desk.bucket.signed] == ["1", "2", "3"]
    for tags in ((), ("a", "b"), ("a", "b", "c", "d"), ("a", "b", "<c>")):
        again = desk.open()
        with pytest.raises(BlobIncomplete):
            desk.landings.land(again.name, tags)
    monkeypatch.setattr(s3_landings, "MAX_PARTS", 2)
    assert [each.stop for each in desk.open().parts] == [5, 10]
    assert len(desk.open(0).parts) == 1, "and an empty one by one"
    assert WHOLE_BYTES == 80 * PART_BYTES
    assert MAX_PARTS * PART_BYTES > WHOLE_BYTES


def test_what_one_request_takes_is_bounded_and_a_larger_blob_comes_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_landings, "WHOLE_BYTES", 9)
    desk = Desk()
    assert [desk.open(size).is_hashed for size in (9, 10)] == [True, False]


def test_what_landed_gets_its_name_its_room_and_no_second_look() -> None:
    desk = Desk()
    made = desk.open()
    key = desk.send()
    assert desk.landings.is_awaited(key)
    assert not desk.landings.is_awaited(f"{key}0")
    desk.landings.land(made.name, ())
    assert desk.bucket.held == {f"lab/{HEX}": DATA}
    assert desk.room == ROOM - len(DATA)
    assert not desk.landings.is_awaited(key)
    with pytest.raises(BlobMissing):
        desk.landings.land(made.name, ())
    assert desk.room == ROOM - len(DATA)


@pytest.mark.parametrize("sent", [DATA[:-1], DATA + b"x", DATA[::-1], None])
def test_other_bytes_or_none_end_a_landing_and_free_its_room(sent: bytes | None) -> None:
    desk = Desk()
    made = desk.open()
    if sent is not None:
        desk.send(sent)
    with pytest.raises((DigestMismatch, BlobMissing)):
        desk.landings.land(made.name, ())
    assert (desk.bucket.held, desk.room) == ({}, ROOM)
    with pytest.raises(BlobMissing):
        desk.landings.land(made.name, ())


def test_a_store_that_is_down_leaves_a_landing_open_and_what_was_put_together_is_found() -> None:
    desk = Desk("anything")
    made = desk.open()
    desk.send()
    desk.bucket.is_down = True
    with pytest.raises(StorageFailed):
        desk.landings.land(made.name, ("tag",))
    assert desk.room == ROOM - len(DATA)
    desk.bucket.is_down = False
    desk.landings.land(made.name, ("tag",))
    assert desk.bucket.calls.count("end_parts") == 2
    assert f"lab/{HEX}" in desk.bucket.held


def test_a_landing_ends_with_its_time_and_lasts_no_longer_than_any() -> None:
    desk = Desk()
    made = desk.open(life_s=60.0)
    desk.now_s = 159.9
    desk.landings.expire()
    assert desk.room == ROOM - len(DATA)
    desk.now_s = 160.0
    desk.landings.expire()
    assert desk.room == ROOM
    with pytest.raises(BlobMissing, match="its time is over"):
        desk.landings.land(made.name, ())
    for asked_s, given_s in ((1e9, MAX_LIFE_S), (0.2, 1.0), (-5.0, 1.0)):
        assert desk.open(life_s=asked_s).until_s == 160.0 + given_s
        assert desk.bucket.signed[-1][2] == given_s
    assert MAX_LIFE_S == 6 * 3600


def test_what_is_looked_at_is_not_abandoned_ended_by_time_or_looked_at_twice() -> None:
    desk = Desk()
    made = desk.open()
    key = desk.send()
    told: list[str] = []

    def copied(source: str, target: str, size: int) -> None:
        desk.landings.abandon(made.name)
        desk.now_s += 1000
        desk.landings.expire()
        with pytest.raises(BlobBusy):
            desk.landings.land(made.name, ())
        told.append(source)
        desk.bucket.held[target] = desk.bucket.held[source]

    desk.bucket.copy = copied  # type: ignore[method-assign]
    desk.landings.land(made.name, ())
    assert told == [key]
    assert desk.room == ROOM - len(DATA)


def test_an_abandoned_landing_leaves_nothing_and_what_cannot_open_keeps_no_room() -> None:
    desk = Desk("anything")
    made = desk.open()
    key = desk.send()
    desk.landings.abandon(made.name)
    desk.landings.abandon(made.name)
    desk.landings.abandon("never opened")
    assert (desk.bucket.held, desk.bucket.uploads, desk.room) == ({}, set(), ROOM)
    assert not desk.landings.is_awaited(key)
    with pytest.raises(StorageFull):
        desk.open(ROOM + 1)
    for size in (-1, MAX_BLOB_BYTES + 1):
        with pytest.raises(BlobTooLarge):
            desk.open(size)
    down = Desk()
    down.bucket.is_down = True
    with pytest.raises(StorageFailed):
        down.open()
    assert down.room == ROOM


def test_an_address_to_fetch_from_is_of_the_blobs_own_key() -> None:
    desk = Desk()
    desk.landings.address(DIGEST, 30)
    assert desk.bucket.signed == [(f"lab/{HEX}", Request("GET"), 30)]
