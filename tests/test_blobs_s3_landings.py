"""Bytes that pass by the lab, against real servers: one that refuses what AWS refuses, and one that takes anything."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archipel.blobs import BlobStore, DigestMismatch, StorageFull, s3_direct, s3_landings
from archipel.blobs.errors import BlobIncomplete, BlobMissing, StorageFailed
from archipel.blobs.landing import Landing
from archipel.blobs.s3 import S3Blobs
from archipel.blobs.s3_direct import DirectBucket, checksum_of
from archipel.blobs.s3_owner import OwnedByAnother, claim
from archipel.blobs.s3_place import place_of
from archipel.blobs.s3_reading import BucketReader
from s3_server import S3Server, s3_server

pytestmark = pytest.mark.slow

MIB = 2**20
DATA = bytes(range(256)) * 4 * 1024 * 12
"""12 MiB: a store wants parts of 5 MiB at least."""
HEX = hashlib.sha256(DATA).hexdigest()
DIGEST = f"sha256:{HEX}"
OTHER = bytes(len(DATA))
QUOTA = 40 * MIB
HOUR_S = 3600.0


@pytest.fixture(scope="module", params=[True, False], ids=["verifying", "moto"])
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with s3_server(is_verifying=request.param) as server:
        yield server


@pytest.fixture
def url(server: S3Server) -> str:
    return server.fresh()


@pytest.fixture
def bucket(server: S3Server, url: str) -> Iterator[DirectBucket]:
    bucket = DirectBucket(place_of(url), server.credentials)
    yield bucket
    bucket.close()


@pytest.fixture
def store(bucket: DirectBucket, tmp_path: Path) -> S3Blobs:
    return S3Blobs(bucket, BlobStore(tmp_path / "arriving"), QUOTA)


def put(landing: Landing, data: bytes) -> tuple[list[int], tuple[str, ...]]:
    """Statuses and names of all parts, sent without credentials."""
    headers = checksum_of(HEX) if landing.is_hashed else {}
    answers = [
        httpx.put(each.url, content=data[each.start : each.stop], headers=headers, trust_env=False)
        for each in landing.parts
    ]
    tags = tuple(each.headers.get("etag", "") for each in answers)
    return [each.status_code for each in answers], () if landing.is_hashed else tags


def landed(store: S3Blobs, landing: Landing, data: bytes = DATA) -> None:
    assert store.direct is not None
    statuses, tags = put(landing, data)
    assert set(statuses) == {200}
    store.direct.land(landing.name, tags)


def opened(store: S3Blobs, life_s: float = 900.0) -> Landing:
    assert store.direct is not None
    return store.direct.open(DIGEST, len(DATA), life_s)


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_lands_gets_its_name_and_leaves_nothing_behind(
    store: S3Blobs, bucket: DirectBucket, monkeypatch: pytest.MonkeyPatch, in_parts: bool
) -> None:
    if in_parts:
        monkeypatch.setattr(s3_landings, "WHOLE_BYTES", 0)
        monkeypatch.setattr(s3_landings, "PART_BYTES", 6 * MIB)
        monkeypatch.setattr(s3_direct, "COPY_AT_ONCE_BYTES", 0)
        monkeypatch.setattr(s3_direct, "COPY_PART_BYTES", 6 * MIB)
    landing = opened(store)
    assert not (in_parts and landing.is_hashed)
    assert len(landing.parts) == (2 if in_parts else 1)
    assert store.room() == QUOTA - len(DATA)
    assert not store.exists(DIGEST)
    landed(store, landing)
    assert store.exists(DIGEST)
    assert store.room() == QUOTA - len(DATA)
    assert (
        store.read_bytes(DIGEST, len(DATA))
        == DATA
        == BucketReader(bucket).read_bytes(DIGEST, QUOTA)
    )
    assert [each.key for each in bucket.listed("lab/")] == [f"lab/{HEX[:2]}/{HEX[2:]}"]
    assert bucket.uploads("lab/") == ()
    assert store.direct is not None
    with pytest.raises(BlobMissing):
        store.direct.land(landing.name, ())


def test_other_bytes_never_get_the_name(store: S3Blobs, bucket: DirectBucket) -> None:
    assert store.direct is not None
    landing = opened(store)
    statuses, tags = put(landing, OTHER)
    assert statuses == ([400] if landing.is_hashed else [200])
    with pytest.raises((DigestMismatch, BlobMissing)):
        store.direct.land(landing.name, tags)
    assert not store.exists(DIGEST)
    assert list(bucket.listed("lab/")) == []
    assert store.room() == QUOTA, "its room is free"
    landing = opened(store)
    put(landing, DATA)
    if not landing.is_hashed:
        with pytest.raises(BlobIncomplete):
            store.direct.land(landing.name, ("no<tag",))
    else:
        bucket.delete(f"lab/incoming/{HEX}.{landing.name}")
        with pytest.raises(BlobMissing):
            store.direct.land(landing.name, ())
    assert not store.exists(DIGEST)


def test_a_store_that_does_not_refuse_other_bytes_is_found_out(
    store: S3Blobs, server: S3Server, bucket: DirectBucket, request: pytest.FixtureRequest
) -> None:
    is_verifying = "verifying" in request.node.callspec.id
    assert opened(store).is_hashed == is_verifying
    assert [each.key for each in bucket.listed("lab/incoming/trial")] == []
    if is_verifying:  # the address is for these bytes and this length alone, and nobody changes it
        url = opened(store).parts[0].url
        for sent, headers in (
            (DATA, {}),
            (DATA[:-1], checksum_of(HEX)),
            (OTHER, checksum_of(hashlib.sha256(OTHER).hexdigest())),
        ):
            assert httpx.put(url, content=sent, headers=headers, trust_env=False).status_code == 403
        other = url.replace(HEX, "0" * 64)
        answer = httpx.put(other, content=DATA, headers=checksum_of(HEX), trust_env=False)
        assert answer.status_code == 403


def test_a_blob_is_fetched_by_its_address_also_in_ranges_until_that_is_over(
    store: S3Blobs, bucket: DirectBucket, request: pytest.FixtureRequest
) -> None:
    store.put_bytes(DATA)
    assert store.direct is not None
    url = store.direct.address(DIGEST, 60)
    assert httpx.get(url, trust_env=False).content == DATA
    some = httpx.get(url, headers={"range": "bytes=5-"}, trust_env=False)
    assert (some.status_code, some.content) == (206, DATA[5:])
    if "verifying" in request.node.callspec.id:
        bucket._clock_s = lambda: time.time() - 61
        late = store.direct.address(DIGEST, 60)
        assert httpx.get(late, trust_env=False).status_code == 403


def test_room_is_kept_until_a_landing_ends_and_what_is_left_of_it_is_swept(
    store: S3Blobs, bucket: DirectBucket
) -> None:
    assert store.direct is not None
    for _ in range(3):
        last = opened(store, 100.0)
    with pytest.raises(StorageFull):
        opened(store)
    put(last, DATA)
    landings = store.direct
    later_s = time.time() + 2 * HOUR_S
    ages = {"now_s": later_s, "older_than_s": HOUR_S, "idle_s": HOUR_S}
    store.sweep((), **ages)
    is_there = bool(list(bucket.listed("lab/incoming/")) or bucket.uploads("lab/incoming/"))
    assert is_there, "an open landing is left alone, however old its bytes are"
    landings._clock_s = lambda: later_s
    landings.expire()
    assert store.room() == QUOTA
    with pytest.raises(BlobMissing):
        landings.land(last.name, ())
    store.sweep((), **ages)
    assert list(bucket.listed("lab/incoming/")) == []
    assert bucket.uploads("lab/incoming/") == ()
    assert landings.open(DIGEST, QUOTA, 60.0).until_s == pytest.approx(later_s + 60)


def test_a_prefix_is_one_labs(bucket: DirectBucket, store: S3Blobs) -> None:
    claim(bucket, "did:key:first", dry=True)
    claim(bucket, "did:key:second")
    claim(bucket, "did:key:second")
    with pytest.raises(OwnedByAnother, match="did:key:second"):
        claim(bucket, "did:key:first")
    assert store.digests() == []


def test_a_store_that_is_down_keeps_the_landing_open(
    store: S3Blobs, bucket: DirectBucket, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = opened(store)
    statuses, tags = put(landing, DATA)
    assert statuses == [200]
    assert store.direct is not None

    def down(*_: object) -> None:
        raise StorageFailed("down")

    with monkeypatch.context() as patched:
        patched.setattr(bucket, "copy", down)
        with pytest.raises(StorageFailed):
            store.direct.land(landing.name, tags)
    assert not store.exists(DIGEST)
    store.direct.land(landing.name, tags)
    assert store.read_bytes(DIGEST, len(DATA)) == DATA
