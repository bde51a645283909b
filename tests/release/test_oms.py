"""OpenSSF model signing: a folder signed is found as signed, and whatever was done to it is named."""

import json
import os
from pathlib import Path

import pytest

from archipel.identity import Identity, pre_authentication_encoding
from archipel.key_file import Unusable
from archipel.release.oms.bundle import MEDIA_TYPE, read_bundle, verify
from archipel.release.oms.folder import compare_folder, sign_folder
from archipel.release.oms.key import PublicKey, SigningKey
from archipel.release.oms.statement import (
    PAYLOAD_TYPE,
    BadOms,
    SignedFiles,
    read_statement,
    signed_files,
)
from archipel.release.oms.voucher import vouch, vouched_by

KEY = SigningKey.from_scalar(0xA5C1)
OTHER = SigningKey.from_scalar(7)
PLACE = "release.sig"
PUBLISHED = os.environ.get("ARCHIPEL_OMS")  # noqa: TID251  of this test alone
"""A folder with the test vectors of ossf/model-signing-spec, where somebody has them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "blobs/ab").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# a model\n")
    (tmp_path / "blobs/ab/c").write_bytes(bytes(range(256)))
    (tmp_path / "Zed").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / PLACE).write_bytes(sign_folder(tmp_path, "a model", KEY, PLACE))
    return tmp_path


def signed(folder: Path) -> SignedFiles:
    return verify(read_bundle((folder / PLACE).read_bytes()), KEY.public)


def test_a_signature_covers_every_file_but_itself_in_the_order_of_code_points(folder: Path) -> None:
    files = signed(folder)
    assert list(files.digests) == ["README.md", "Zed", "blobs/ab/c"]
    assert files.ignored == (PLACE,)
    assert compare_folder(folder, files, PLACE).is_same


def test_a_folder_signed_twice_has_one_signature(folder: Path) -> None:
    before = (folder / PLACE).read_bytes()
    assert sign_folder(folder, "a model", KEY, PLACE) == before
    assert read_bundle(before).to_bytes() == before
    assert sign_folder(folder, "a model", OTHER, PLACE) != before


def test_whatever_was_done_to_a_folder_is_named(folder: Path) -> None:
    files = signed(folder)
    (folder / "README.md").write_text("# A model\n")
    (folder / "Zed").unlink()
    (folder / "empty/new").write_bytes(b"")
    found = compare_folder(folder, files, PLACE)
    assert (found.changed, found.missing, found.added) == (("README.md",), ("Zed",), ("empty/new",))
    assert not found.is_same


@pytest.mark.parametrize("place", ["link", "blobs/ab/link"])
def test_links_are_followed_neither_in_signing_nor_in_comparing(folder: Path, place: str) -> None:
    files = signed(folder)
    (folder / place).symlink_to(folder / "Zed")
    for look in (
        lambda: compare_folder(folder, files, PLACE),
        lambda: sign_folder(folder, "a model", KEY, PLACE),
    ):
        with pytest.raises(BadOms, match=f"{place} is no regular file"):
            look()


def as_written(data: bytes) -> None:
    """Verify, and insist on the spelling of our own writer."""
    bundle = read_bundle(data)
    verify(bundle, KEY.public)
    if bundle.to_bytes() != data:
        raise BadOms("not as it would be written")


def test_no_byte_of_a_signature_can_be_flipped(folder: Path) -> None:
    """Whoever wants our own bytes compares them with how they would be written, which finds what a parser overlooks."""
    whole = (folder / PLACE).read_bytes()
    for at in range(0, len(whole), 3):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1
        with pytest.raises(BadOms):
            as_written(bytes(spoilt))


def test_another_key_and_no_key_are_refused(folder: Path) -> None:
    bundle = read_bundle((folder / PLACE).read_bytes())
    with pytest.raises(BadOms, match=f"expected {OTHER.public.hint}"):
        verify(bundle, OTHER.public)
    with pytest.raises(BadOms, match="give its public key"):
        verify(bundle, None)


def changed(folder: Path, *path: str, to: object = None) -> bytes:
    """The signature with one value changed, or left out."""
    whole = json.loads((folder / PLACE).read_bytes())
    at = whole
    for key in path[:-1]:
        at = at[key]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(whole).encode()


RAW = {"rawBytes": "AAAA"}


@pytest.mark.parametrize(
    ("path", "to", "why"),
    [
        (("mediaType",), "application/json", "mediaType is 'application/json'"),
        (("dsseEnvelope",), None, "no dsseEnvelope"),
        (("verificationMaterial",), None, "no verificationMaterial"),
        (("verificationMaterial", "tlogEntries"), None, "no tlogEntries"),
        (("verificationMaterial", "publicKey"), None, "one of publicKey"),
        (("verificationMaterial", "publicKey"), {}, "no hint"),
        (("verificationMaterial", "certificate"), RAW, "one of publicKey"),
        (("dsseEnvelope", "payloadType"), "text/plain", "payloadType is 'text/plain'"),
        (("dsseEnvelope", "payload"), "?", "the payload is no base64"),
        (("dsseEnvelope", "signatures"), [], "not exactly one signature"),
        (("dsseEnvelope", "signatures"), [{"sig": "AA==", "keyid": 3}], "keyid is neither"),
        (("dsseEnvelope", "signatures"), [{"sig": "AA==", "keyid": None}], "does not belong"),
        (("dsseEnvelope", "signatures"), [{"sig": "AA=="}], "does not belong"),
    ],
)
def test_a_bundle_that_misses_something_is_refused_with_its_sentence(
    folder: Path, path: tuple[str, ...], to: object, why: str
) -> None:
    with pytest.raises(BadOms, match=why):
        verify(read_bundle(changed(folder, *path, to=to)), KEY.public)


def test_a_key_that_stands_in_the_bundle_itself_is_named_by_its_hint_where_it_has_one(
    folder: Path,
) -> None:
    place = ("verificationMaterial", "publicKey")
    hint = KEY.public.hint
    for key, expected in ((RAW, None), (RAW | {"hint": hint}, hint)):
        assert read_bundle(changed(folder, *place, to=key)).hint == expected


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadOms):
        read_bundle(data)


def said(**other: object) -> bytes:
    files = json.loads(signed_files("m", {"a": "0" * 64, "b": "1" * 64}, ()).to_bytes())
    for key, value in other.items():
        part = files if key in files else files["predicate"]
        part[key] = value
    return json.dumps(files).encode()


ONE = {"name": "a", "algorithm": "sha256", "digest": "0" * 64}
FILES = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"predicateType": "https://example.com/wrong-predicate/v1.0"}, "predicateType is"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "_type is"),
        ({"subject": []}, "one subject"),
        ({"subject": [{"name": "m", "digest": {"sha256": "2" * 64}}]}, "put together badly"),
        ({"resources": []}, "1 to"),
        ({"resources": [ONE, ONE]}, "each name once"),
        ({"resources": [ONE | {"name": "b"}, ONE]}, "put together badly"),
        ({"resources": [ONE | {"algorithm": "md5"}]}, "takes sha256 alone"),
        ({"resources": [ONE | {"name": "../a"}]}, "leads out of the folder"),
        ({"resources": [ONE | {"name": "/a"}]}, "leads out of the folder"),
        ({"resources": [ONE | {"name": "a\\b"}]}, "leads out of the folder"),
        ({"serialization": FILES | {"method": "shards"}}, "whole files by sha256"),
        ({"serialization": FILES | {"allow_symlinks": True}}, "follows none"),
        ({"serialization": FILES | {"ignore_paths": ["../x"]}}, "leads out of the folder"),
    ],
)
def test_a_statement_that_says_something_else_is_refused(other: dict, why: str) -> None:
    with pytest.raises(BadOms, match=why):
        read_statement(said(**other))


def test_ours_stand_by_code_point_and_others_as_they_came() -> None:
    names = {"a/b": "0" * 64, "a-d": "1" * 64, "Z": "2" * 64}
    ours = signed_files("m", names, ())
    assert list(ours.digests) == ["Z", "a-d", "a/b"]
    theirs = SignedFiles("m", names, ())
    assert read_statement(theirs.to_bytes()) == theirs
    assert list(read_statement(theirs.to_bytes()).digests) == list(names)
    assert theirs.whole != ours.whole


def test_a_key_comes_back_from_its_file_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    plain, closed = tmp_path / "plain", tmp_path / "closed"
    assert KEY.save(plain)
    assert KEY.save(closed, b"a word")
    assert not OTHER.save(plain), "a key is never written over"
    assert SigningKey.load(plain).public.hint == KEY.public.hint
    assert SigningKey.load(closed, lambda: b"a word").public.hint == KEY.public.hint
    with pytest.raises(Unusable, match="another passphrase"):
        SigningKey.load(closed, lambda: b"another")
    assert plain.stat().st_mode & 0o777 == 0o600
    plain.chmod(0o644)
    with pytest.raises(Unusable, match="expected 0600"):
        SigningKey.load(plain)


def test_a_damaged_or_foreign_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    Identity.from_seed(bytes(32)).save(path)
    with pytest.raises(Unusable, match="expected a P-256 key"):
        SigningKey.load(path)
    path.unlink()
    KEY.save(path)
    path.write_bytes(path.read_bytes().replace(b"name p256:", b"name p256:0", 1))
    with pytest.raises(Unusable, match="is damaged"):
        SigningKey.load(path)
    with pytest.raises(BadOms, match="no public key in PEM"):
        PublicKey.from_pem(b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")


def test_signatures_follow_rfc_6979() -> None:
    """Appendix A.2.5: P-256, SHA-256, the message `sample`; DER of its r and s."""
    key = SigningKey.from_scalar(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721)
    r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    s = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    assert key.sign(b"sample").hex() == f"3046022100{r}022100{s}"


def test_an_operator_vouches_for_one_key_and_one_release() -> None:
    boss = Identity.from_seed(bytes(31) + b"\x01")
    word = vouch(boss, b"index", KEY.public.hint)
    assert vouched_by(word, b"index", KEY.public.hint) == boss.did
    with pytest.raises(ValueError, match="another release"):
        vouched_by(word, b"indexes", KEY.public.hint)
    with pytest.raises(ValueError, match="this release is signed by"):
        vouched_by(word, b"index", OTHER.public.hint)
    for at in range(0, len(word), 5):
        spoilt = bytearray(word)
        spoilt[at] ^= 1
        with pytest.raises(ValueError):
            vouched_by(bytes(spoilt), b"index", KEY.public.hint)


def test_what_is_signed_is_dsse(folder: Path) -> None:
    bundle = read_bundle((folder / PLACE).read_bytes())
    assert KEY.public.has_signed(
        pre_authentication_encoding(PAYLOAD_TYPE, bundle.payload), bundle.signature
    )
    assert json.loads((folder / PLACE).read_bytes())["mediaType"] == MEDIA_TYPE


@pytest.mark.skipif(PUBLISHED is None, reason="ARCHIPEL_OMS names no folder with OMS's vectors")
def test_the_published_vectors_are_taken_and_refused_as_stated() -> None:
    vectors = Path(PUBLISHED or "") / "test-vectors/v1.0"
    counts = {each.name: len(list(each.iterdir())) for each in vectors.iterdir()}
    assert counts == {"valid": 3, "invalid": 4, "invalid-payload": 1}
    methods = set()
    for path in (vectors / "valid").iterdir():
        bundle = read_bundle(path.read_bytes())
        methods.add(bundle.method)
        assert read_statement(bundle.payload).digests.keys() == {"signme-1", "signme-2"}
        if bundle.method != "key":
            assert verify(bundle, None).digests
    assert methods == {"key", "certificate", "sigstore"}
    for path in (vectors / "invalid").iterdir():
        with pytest.raises(BadOms):
            read_bundle(path.read_bytes())
    for path in (vectors / "invalid-payload").iterdir():
        with pytest.raises(BadOms, match="predicateType"):
            read_statement(read_bundle(path.read_bytes()).payload)
