"""Keys sealed by a passphrase: they open by it alone, whole, and what is damaged is one sentence."""

import os
import stat
from pathlib import Path

import pytest

from archipel.identity import BadKeyFile, Identity
from archipel.key_file import Unusable, is_sealed, key_in, name_in, sealed_file

FAST = 2**14
"""Scrypt's smallest n that is read."""
OWN = Identity.from_seed(bytes(range(32)))
WORD = "päss".encode()


def sealed() -> bytes:
    return sealed_file(OWN.did, bytes(range(32)), WORD, FAST)


def test_a_sealed_key_opens_by_its_passphrase_alone_and_says_nothing_of_the_key() -> None:
    data = sealed()
    assert is_sealed(data)
    assert bytes(range(32)).hex().encode() not in data
    assert data != sealed(), "a salt of its own each time"
    assert key_in(data, lambda: WORD) == (OWN.did, bytes(range(32)))
    assert name_in(data) == OWN.did
    for other in (b"pass", b"", b"x" * 1025):
        with pytest.raises(Unusable, match="passphrase"):
            key_in(data, lambda other=other: other)
    with pytest.raises(Unusable, match="nobody was asked"):
        key_in(data, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":16384', b'"n":32768'),
        (b'"n":16384', b'"n":16385'),
        (b'"n":16384', b'"n":1073741824'),
        (b'"p":1', b'"p":9'),
        (b'"nonce":"', b'"nonce":"00'),
        (b'"sealed":"', b'"sealed":"00'),
        (b"did:key:z6M", b"did:key:z6N"),
        (b'{"cipher', b'{"more":1,"cipher'),
        (b"}", b""),
    ],
)
def test_another_name_or_parameter_does_not_open(old: bytes, new: bytes) -> None:
    data = sealed()
    assert old in data
    with pytest.raises(Unusable) as error:
        key_in(data.replace(old, new, 1), lambda: WORD)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_in_the_sealed_bytes_never_gives_another_key() -> None:
    data = sealed()
    start = data.index(b'"sealed":"') + 10
    for at in (start, start + 95):
        other = b"0" if data[at : at + 1] != b"0" else b"1"
        with pytest.raises(Unusable, match="damaged"):
            key_in(data[:at] + other + data[at + 1 :], lambda: WORD)


def test_a_key_is_sealed_and_unsealed_in_place_and_stays_its_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.key_file.SCRYPT_N", FAST)
    path = tmp_path / "operator.key"
    own = Identity.load_or_create(path)
    own.save(path, WORD, anew=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert Identity.load(path, lambda: WORD).did == own.did
    with pytest.raises(BadKeyFile, match=r"operator\.key opens by another passphrase"):
        Identity.load(path, lambda: b"other")
    with pytest.raises(BadKeyFile, match="nobody was asked"):
        Identity.load(path)
    assert not own.save(path), "what is there stays, unless it is asked for anew"
    own.save(path, anew=True)
    assert Identity.load(path).did == own.did


def test_a_pipe_is_no_key_file_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "node.key", 0o600)
    with pytest.raises(BadKeyFile, match="is no regular file"):
        Identity.load(tmp_path / "node.key")
