import base64
import hashlib
from array import array

import numpy as np
import pytest

from archipel.engine.toploc import (
    FIELD,
    BadFingerprint,
    bits_of,
    compare,
    decode,
    distances,
    encode,
    encode_all,
    evaluate,
    largest,
    prove,
)
from archipel.records.fingerprints import (
    WrongFingerprints,
    check_fingerprints,
    cut_fingerprints,
    num_bytes,
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
        (32, 5120, 3, FIELD, "1ccba6537913702a"),
        (32, 5120, 9, 65_496, "3c9c610629a5d21f"),
    ],
)
def test_proofs_have_these_bytes(
    num: int, width: int, seed: int, modulus: int, digest: str
) -> None:
    proofs = prove(rows(num, width, seed))
    assert int.from_bytes(proofs[:2], "big") == modulus
    assert hashlib.sha256(proofs).hexdigest()[:16] == digest


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


@pytest.mark.parametrize("num", [1, 31, 32, 33, 80])
def test_a_proof_has_four_points_a_row_so_that_its_length_follows_from_the_tokens(num: int) -> None:
    own = rows(num, 64)
    proofs = prove(own)
    assert len(proofs) == num_bytes(num) == 8 * num + 2 * -(-num // 32)
    found = distances(proofs, own)
    assert sum(each.points for each in found) == 4 * num
    assert not any(each.exponents or each.mean for each in found)
    with pytest.raises(BadFingerprint):
        prove(own[:, :3])


def test_proofs_made_together_are_those_made_alone() -> None:
    chunks = [rows(32, 5120, seed).reshape(-1) for seed in (3, 9, 22)]
    assert encode_all(chunks, 128) == [encode(chunk) for chunk in chunks]


def spoilt(proof: bytes, place: int, number: int) -> bytes:
    return proof[: 2 * place] + number.to_bytes(2, "big") + proof[2 * place + 2 :]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good: spoilt(good, 0, 0),
        lambda good: spoilt(good, 0, FIELD + 1),
        lambda good: spoilt(good, 129, 127),
        lambda good: spoilt(good, 134, FIELD),
        lambda good: spoilt(good, 128, 65535),
        lambda good: good[:-1],
        lambda good: good + b"\0\0",
        lambda good: good[:258],
        lambda good: good + good[:258],
        lambda good: b"",
    ],
)
def test_what_is_malformed_or_missing_never_passes(wrong) -> None:
    own = rows(64, 64)
    told = wrong(prove(own))
    with pytest.raises(BadFingerprint):
        distances(told, own)
    with pytest.raises(WrongFingerprints):
        check_fingerprints(array("B", told), [64])


def test_what_a_lab_takes_without_numbers_is_what_a_verifier_takes() -> None:
    lengths = (1, 33, 64, 7)
    told = [prove(rows(length, 16, length)) for length in lengths]
    joined = array("B", b"".join(told))
    check_fingerprints(joined, lengths)
    assert cut_fingerprints({"fingerprints": joined, "lengths": array("i", lengths)}) == told
    with pytest.raises(WrongFingerprints):
        check_fingerprints(joined, lengths[::-1][:3])


def test_what_has_no_activations_or_infinite_ones_has_no_proof() -> None:
    with pytest.raises(BadFingerprint):
        prove(np.zeros((0, 8), np.uint16))
    with pytest.raises(BadFingerprint):
        prove(np.zeros((2, 8), np.float32))  # type: ignore[arg-type]
    infinite = rows(2, 8)
    infinite[1, 3] = 0x7F80
    with pytest.raises(BadFingerprint, match="infinite"):
        prove(infinite)
    with pytest.raises(BadFingerprint):
        bits_of(np.array([np.nan], np.float32))
    with pytest.raises(BadFingerprint):
        decode(b"\xff\xd9", 0)
