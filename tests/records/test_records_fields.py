"""The bounds that both sides of the wire count on: each holds exactly, and each is the published one."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from archipel.records import fields, parcel, words
from archipel.records.recipe import parse_recipe

MOST = 2**53 - 1
NAME = "r" + "-" * 62

FIT: dict[str, tuple[list[Any], list[Any]]] = {
    "Did": (
        ["did:key:z6Mk" + "1" * 44],
        ["did:key:z6Mk" + "1" * 43, "did:key:z6Mk" + "1" * 45, "did:key:z6Mk" + "0" * 44, 1],
    ),
    "Digest": (
        ["sha256:" + "a" * 64, "sha256:" + "0" * 64],
        ["sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha512:" + "a" * 64],
    ),
    "RunName": (["r", "0", NAME], ["", "-r", "R", NAME + "-", "a.b", "a\n"]),
    "WorkId": (
        ["r.1", NAME + "." + "9" * 12],
        ["r", "r.", "r." + "1" * 13, "r.x", "-r.1", NAME + "-.1", "r.1\n"],
    ),
    "KindName": (["a", "a" + "_" * 31], ["", "_a", "A", "a1", "a" + "_" * 32]),
    "FileName": (["a", "0.-_Z", "a" * 128], ["", ".a", "-a", "a/b", "a" * 129]),
    "Reason": (["", "é" * 500], ["é" * 501]),
    "Count": ([0, MOST], [-1, MOST + 1]),
    "Millis": ([0, MOST], [-1, MOST + 1]),
    "VersionNumber": ([0, 1_000_000], [-1, 1_000_001]),
    "GroupIndex": ([0, 2**40], [-1, 2**40 + 1]),
    "TokenId": ([0, 2**31 - 1], [-1, 2**31]),
    "MetricName": (["a", "a" + "_" * 47, "a1"], ["", "1a", "A", "_a", "a" + "_" * 48]),
    "Metrics": (
        [{}, {"a": MOST, "b": -MOST}, {f"m{n}": 0 for n in range(64)}],
        [{"a": MOST + 1}, {"a": -MOST - 1}, {f"m{n}": 0 for n in range(65)}, {"a": 0.5}],
    ),
}


@pytest.mark.parametrize("name", FIT)
def test_a_field_is_taken_up_to_its_bound_and_refused_beyond_it(name: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(getattr(fields, name))
    fit, unfit = FIT[name]
    for value in fit:
        assert adapter.validate_python(value, strict=True) == value
    for value in unfit:
        with pytest.raises(ValidationError):
            adapter.validate_python(value, strict=True)


def test_a_blob_has_a_name_and_a_size_up_to_eight_tebibytes() -> None:
    digest = "sha256:" + "a" * 64
    for size in (0, 8 * 2**40):
        assert fields.BlobRef(digest=digest, size=size).size == size
    for size in (-1, 8 * 2**40 + 1, True, "1"):
        with pytest.raises(ValidationError):
            fields.BlobRef(digest=digest, size=size)  # type: ignore[arg-type]  # the point
    with pytest.raises(ValidationError):
        fields.BlobRef(digest=digest, size=1, more=2)  # type: ignore[call-arg]  # the point


PUBLISHED = {
    "MAX_RECORD_BYTES": 47_000,
    "MAX_GROUPS_PER_WORK": 2048,
    "MAX_GROUPS_PER_UPDATE": 65_536,
    "MAX_LEASES_PER_NODE": 8,
    "MAX_KINDS": 16,
    "MAX_FORGOTTEN": 500,
    "MAX_MODEL_FILES": 128,
    "MAX_TRUSTED_KEYS": 64,
    "MAX_METRICS": 64,
    "MAX_STOP_TOKENS": 16,
    "MAX_PROMPT_BATCHES": 128,
    "MAX_REASON_CHARACTERS": 500,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_bound_of_the_wire_is_the_published_one(name: str) -> None:
    """Another number would make old and new sides refuse each other's statements."""
    assert getattr(fields, name) == PUBLISHED[name]


def test_a_parcel_s_sizes_are_the_published_ones() -> None:
    assert parcel.MAGIC == b"APCL1\n"
    assert parcel.MEDIA_TYPE == "application/vnd.archipel.parcel.v1"
    sizes = (parcel.MAX_PARCEL_BYTES, parcel.MAX_PARCEL_BLOBS, parcel.SMALL_BLOB_BYTES)
    assert sizes == (2 * 2**20, 256, 2**20)
    assert parcel.pack_parcel(b"doc", [b"a", b""]) == (
        b"APCL1\n" + bytes([2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]) + b"doc" + b"a"
    )
    assert words.MAX_INPUTS == fields.MAX_GROUPS_PER_UPDATE


def test_a_parcel_as_large_as_one_may_be_is_taken_and_a_byte_more_is_not() -> None:
    head = len(parcel.pack_parcel(b"", [b""]))
    most = b"x" * (parcel.MAX_PARCEL_BYTES - head)
    assert parcel.unpack_parcel(parcel.pack_parcel(b"", [most])) == (b"", [most])
    for document, blobs in ((b"d", [most]), (b"", [most + b"x"])):
        with pytest.raises(parcel.BadParcel, match="at most 256 and 2097152"):
            parcel.pack_parcel(document, blobs)


def test_a_run_that_is_silent_about_what_it_keeps_means_what_it_always_meant() -> None:
    recipe = parse_recipe('[run]\nname = "r"\nversions = 2\n[environment]\nname = "e"\n')
    assert (recipe.run.checkpoint_every, recipe.run.keep_versions) == (20, 256)
    assert recipe.run.programme == "rl"
