import base64
import hashlib

import numpy as np
import pytest

from archipel.proofs.toploc import (
    FIELD,
    BadFingerprint,
    bits_of,
    chunks,
    compare,
    decode,
    distances,
    encode,
    evaluate,
    largest,
    prove,
)

README = base64.b64decode("/9kbQitnukt1bQ==")
"""A proof that the README of toploc 0.1.6 shows, of 4 points."""


def rows(num: int, width: int, seed: int = 0) -> np.ndarray:
    """Patterns that hang on no library's normal numbers."""
    raw = np.frombuffer(hashlib.shake_256(b"%d" % seed).digest(4 * num * width), ">u4")
    values = (raw.astype(np.float64) / 2**32 - 0.5) ** 3 * 64
    return bits_of(values.astype(np.float32)).reshape(num, width)


def value(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_the_readmes_proof_holds_four_activations() -> None:
    found = value(evaluate(README, np.array([35, 63, 70, 79]), 4))
    assert np.allclose(found, [2.8906, 2.3906, -2.1719, -2.6719], atol=1e-4)
    plausible = np.abs(value(evaluate(README, np.arange(FIELD), 4)[:96]))
    assert list(np.flatnonzero((plausible >= 1) & (plausible < 4.5))) == [35, 63, 70, 79]


@pytest.mark.parametrize(
    ("num", "width", "seed", "modulus", "digest"),
    [
        (32, 64, 3, FIELD, "82523d9fd649d339"),
        (40, 96, 3, FIELD, "1d12905f65505a64"),
        (32, 5120, 3, FIELD, "1ccba6537913702a"),
        (32, 5120, 9, 65_496, "3c9c610629a5d21f"),
    ],
)
def test_proofs_have_these_bytes(
    num: int, width: int, seed: int, modulus: int, digest: str
) -> None:
    proofs = prove(rows(num, width, seed))
    assert int.from_bytes(proofs[0][:2], "big") == modulus
    assert hashlib.sha256(b"".join(proofs)).hexdigest()[:16] == digest


@pytest.mark.parametrize("seed", [3, 9, 22])
def test_a_proof_gives_back_its_points_whatever_the_modulus(seed: int) -> None:
    chunk = rows(32, 5120, seed).reshape(-1)
    at = largest(chunk)
    assert (evaluate(encode(chunk), at, 128) == chunk[at]).all()
    found = compare(encode(chunk), chunk)
    assert (found.exponents, found.mean, found.median) == (0, 0, 0)


def test_another_s_activations_are_far() -> None:
    found = compare(encode(rows(32, 64, 1).reshape(-1)), rows(32, 64, 2).reshape(-1))
    assert found.exponents > 60


def test_rounding_is_to_nearest_even() -> None:
    numbers = np.array([1.0, 1.00390625, 1.01171875, -1.0, 0.0], np.float32)
    assert bits_of(numbers).tolist() == [0x3F80, 0x3F80, 0x3F82, 0xBF80, 0]


def test_a_chunk_of_fewer_activations_holds_them_all() -> None:
    small = rows(33, 64)
    proofs = prove(small)
    assert [len(each) for each in proofs] == [258, 130]
    assert distances(proofs, small)[1].exponents == 0


def spoilt(proof: bytes, place: int, number: int) -> bytes:
    return proof[: 2 * place] + number.to_bytes(2, "big") + proof[2 * place + 2 :]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good: spoilt(good, 0, 0),
        lambda good: spoilt(good, 0, FIELD + 1),
        lambda good: spoilt(good, 0, 127),
        lambda good: spoilt(good, 5, FIELD),
        lambda good: spoilt(good, 128, 65535),
        lambda good: good[:-1],
        lambda good: good + b"\0\0",
        lambda good: good[:2],
        lambda good: b"",
    ],
)
def test_what_is_malformed_never_passes(wrong) -> None:
    own = rows(64, 64)
    good = prove(own)
    with pytest.raises(BadFingerprint):
        distances((good[0], wrong(good[1])), own)


def test_missing_and_further_proofs_do_not_pass() -> None:
    own = rows(64, 64)
    good = prove(own)
    for told in ((), good[:1], (*good, good[0])):
        with pytest.raises(BadFingerprint, match="expected one each"):
            distances(told, own)


def test_what_has_no_activations_or_infinite_ones_has_no_proof() -> None:
    with pytest.raises(BadFingerprint):
        prove(np.zeros((0, 8), np.uint16))
    with pytest.raises(BadFingerprint):
        chunks(np.zeros((2, 8), np.float32))  # type: ignore[arg-type]
    infinite = rows(2, 8)
    infinite[1, 3] = 0x7F80
    with pytest.raises(BadFingerprint, match="infinite"):
        prove(infinite)
    with pytest.raises(BadFingerprint):
        bits_of(np.array([np.nan], np.float32))
    with pytest.raises(BadFingerprint):
        decode(b"\xff\xd9", 0)
