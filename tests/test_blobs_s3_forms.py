"""The pure parts of blobs in a bucket: signatures, addresses, listings, and what one process knows of it."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archipel.blobs.errors import BlobBusy, BlobMissing, StorageFull
from archipel.blobs.s3_direct import DirectBucket, Request, checksum_of, is_tag
from archipel.blobs.s3_index import Index
from archipel.blobs.s3_listing import (
    BadListing,
    read_copied,
    read_page,
    read_upload_id,
    read_uploads,
)
from archipel.blobs.s3_place import BadPlace, Place, place_of
from archipel.blobs.s3_signing import NO_BYTES, Asked, Credentials, Signer
from archipel.cli.doors import Mendable
from archipel.cli.lab_blobs import credentials

AT_S = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
HOST = "examplebucket.s3.amazonaws.com"
SIGNER = Signer(
    Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1"
)
A, B = (f"sha256:{letter * 64}" for letter in "ab")
PAGE = b"""<?xml version="1.0"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
<Contents><Key>p/a</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified><Size>7</Size></Contents>
<NextContinuationToken>on</NextContinuationToken></ListBucketResult>"""

VECTORS = [
    (
        Asked("GET", HOST, "/test.txt", {}, {"range": "bytes=0-9"}),
        NO_BYTES,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        Asked(
            "PUT",
            HOST,
            "/test$file.text",
            {},
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
        ),
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    (
        Asked("GET", HOST, "/", {"lifecycle": ""}),
        NO_BYTES,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        Asked("GET", HOST, "/", {"max-keys": "2", "prefix": "J"}),
        NO_BYTES,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]
"""AWS's own: "Signature Calculations for the Authorization Header", S3 API reference."""


@pytest.mark.parametrize(("asked", "payload", "signature"), VECTORS)
def test_headers_are_signed_as_in_the_published_examples(
    asked: Asked, payload: str, signature: str
) -> None:
    sent = SIGNER.headers(asked, payload, AT_S)
    assert sent["authorization"].endswith(f"Signature={signature}")


def test_an_address_is_signed_as_in_the_published_example() -> None:
    query = SIGNER.query(Asked("GET", HOST, "/test.txt"), 86_400, AT_S)
    assert query == (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_no_secret_is_shown_and_a_token_is_signed() -> None:
    expiring = Credentials("ID", "SECRET", "TOKEN")
    assert "SECRET" not in repr(expiring)
    assert "TOKEN" not in repr(expiring)
    sent = Signer(expiring, "r").headers(VECTORS[0][0], NO_BYTES, AT_S)
    assert "x-amz-security-token" in sent["authorization"]


def test_an_address_says_bucket_prefix_endpoint_and_region() -> None:
    here = place_of("s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-central-1")
    assert here == Place("bucket", "a/b/", "http://127.0.0.1:9000", "eu-central-1")
    assert here.path("k") == "/bucket/k"
    assert place_of("s3://b-1", None, "http://h:1").endpoint == "http://h:1"
    assert place_of("s3://bucket", "eu-west-1") == Place(
        "bucket", "", "https://s3.eu-west-1.amazonaws.com", "eu-west-1"
    )


@pytest.mark.parametrize(
    ("said", "reached"),
    [
        ("endpoint=https://h", "https://h"),
        ("endpoint=http://h", ""),
        ("endpoint=http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("endpoint=http://[::1]:9000", "http://[::1]:9000"),
        ("endpoint=http://h&public=https://p", "https://p"),
        ("endpoint=https://h&public=none", ""),
    ],
)
def test_nodes_are_sent_to_a_store_by_tls_or_on_their_own_machine(said: str, reached: str) -> None:
    assert place_of(f"s3://bucket?{said}").reached == reached


def test_an_address_to_give_away_is_of_the_host_that_nodes_reach() -> None:
    here = place_of("s3://examplebucket/p?endpoint=http://inside:9000&public=https://outside")
    bucket = DirectBucket(here, SIGNER.credentials, lambda: AT_S)
    url = bucket.address("p/k", Request("PUT", {"partNumber": "1"}, {"content-length": "7"}), 60)
    asked = Asked(
        "PUT", "outside", "/examplebucket/p/k", {"partNumber": "1"}, {"content-length": "7"}
    )
    assert url == f"https://outside/examplebucket/p/k?{SIGNER.query(asked, 60, AT_S)}"
    assert "X-Amz-SignedHeaders=content-length%3Bhost" in url
    bucket.close()


def test_a_checksum_is_said_in_base64() -> None:
    empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert checksum_of(NO_BYTES) == {"x-amz-checksum-sha256": empty}


@pytest.mark.parametrize(
    ("tag", "holds"),
    [
        ('"0a1b-2"', False),
        ('"0a1b"', True),
        ("0a", True),
        ("", False),
        ("<a>", False),
        ("a" * 129, False),
    ],
)
def test_what_a_store_calls_a_part_is_no_markup(tag: str, holds: bool) -> None:
    assert is_tag(tag) == holds


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket",
        "s3://",
        "s3://Bucket",
        "s3://key:secret@bucket",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://user:word@host",
        "s3://bucket?endpoint=http://host/path",
        "s3://bucket?secret=x",
        "s3://bucket?public=http://example.org",
        "s3://bucket?public=http://127.0.0.1.example.org",
        "s3://bucket?public=nobody",
        "s3://bucket?region=x&region",
        "s3://bucket?region=%0a",
        "s3://bucket#x",
        "s3://" + "b" * 3000,
    ],
)
def test_another_address_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(BadPlace, match="expected"):
        place_of(url)


def test_a_listing_is_read() -> None:
    page = read_page(PAGE)
    assert [(each.key, each.size) for each in page.entries] == [("p/a", 7)]
    assert page.entries[0].modified_s == datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    assert page.following == "on"
    assert read_page(PAGE.replace(b"true", b"false")).following == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html/>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + PAGE.partition(b"?>")[2],
        PAGE.replace(b">7<", b">-7<"),
        PAGE.replace(b">7<", b">" + b"9" * 99 + b"<"),
        PAGE.replace(b"2026-01-31", b"never"),
        PAGE.replace(b"Z</Last", b"</Last"),
        PAGE.replace(b"on</Next", b"</Next"),
        PAGE.replace(b"</Contents>", b"</Contents>" + b"<Contents></Contents>" * 1000),
    ],
)
def test_what_is_no_listing_is_refused(data: bytes) -> None:
    for read in (read_page, read_uploads, read_upload_id, read_copied):
        with pytest.raises(BadListing):
            read(data)


def test_a_quota_counts_what_is_here_and_what_is_announced() -> None:
    index = Index(100, 20)
    index.arrived(A, 50, 1.0)
    index.arrived(A, 50, 2.0)
    with index.announced(30, privileged=False):
        assert (index.room(privileged=False), index.room(privileged=True)) == (0, 20)
        with pytest.raises(StorageFull, match="do not fit"):
            index.announce(1, privileged=False)
    assert index.forget(A) == 50 == 100 - index.room(privileged=True) + 50
    with pytest.raises(BlobMissing):
        index.size(A)


def test_nothing_young_goes_and_nothing_that_comes() -> None:
    index = Index(100, 0)
    index.arrived(A, 5, 10.0)
    with index.removing(A, 10.0) as may_go:
        assert not may_go
    assert index.touch(A, 20.0)
    with index.removing(A, 15.0) as may_go:
        assert not may_go
    with index.coming(B, 1.0), index.removing(B, 99.0) as may_go:
        assert not may_go, "a sweep that knows of older bytes must not take the new ones"


def test_what_is_offered_while_it_is_removed_waits_and_then_comes() -> None:
    index, seen = Index(100, 0), list[str]()
    index.arrived(A, 5, 1.0)
    with index.removing(A, 2.0) as may_go:
        assert may_go
        assert not index.touch(A, 3.0), "whoever asks is told to send it"
        with pytest.raises(BlobBusy), index.coming(A, 0.0):
            pass

        def come() -> None:
            with index.coming(A, 10.0):
                seen.append("came")

        coming = threading.Thread(target=come)
        coming.start()
        seen.append("gone")
    coming.join()
    assert seen == ["gone", "came"]


def test_credentials_are_found_as_the_aws_tools_find_them(tmp_path: Path) -> None:
    named = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert credentials(named, tmp_path) == Credentials("a", "b", "c")
    with pytest.raises(Mendable, match="AWS_ACCESS_KEY_ID"):
        credentials({}, tmp_path)
    (tmp_path / ".aws").mkdir()
    file = tmp_path / ".aws" / "credentials"
    file.write_text("[default]\naws_access_key_id=d\naws_secret_access_key=e\n[p]\n")
    assert credentials({}, tmp_path) == Credentials("d", "e")
    with pytest.raises(Mendable, match="profile p"):
        credentials({"AWS_PROFILE": "p"}, tmp_path)
    file.write_text("the secret")
    with pytest.raises(Mendable, match="mend it") as said:
        credentials({}, tmp_path)
    assert "the secret" not in str(said.value)
