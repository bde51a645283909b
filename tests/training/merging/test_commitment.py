"""Held-out text is bound by one hash; another text, or one that was chosen later, is not believed."""

import hashlib

import numpy as np
import pytest

from archipel.training.merging.commitment import (
    MAX_WINDOWS,
    BadText,
    GateText,
    commitment,
    gate_text,
    read_text,
    revealed,
    secret_of_run,
)

SECRET = bytes(range(32))
POOL = np.arange(60).reshape(12, 5)
TEXT = gate_text(SECRET, 3, POOL, 4)


def test_a_text_comes_back_from_its_bytes_which_its_commitment_names() -> None:
    data = TEXT.to_bytes()
    assert commitment(TEXT) == hashlib.sha256(data).hexdigest()
    found = revealed(data, commitment(TEXT))
    assert np.array_equal(found.windows, TEXT.windows)
    assert found.salt == TEXT.salt


def test_a_text_is_some_of_the_pool_each_window_once_and_another_for_every_version() -> None:
    texts = [gate_text(SECRET, version, POOL, 4) for version in range(8)]
    for text in texts:
        rows = [tuple(each) for each in text.windows.tolist()]
        assert len(set(rows)) == 4
        assert set(rows) <= {tuple(each) for each in POOL.tolist()}
    assert len({each.windows.tobytes() for each in texts}) > 1
    assert len({each.salt for each in texts}) == 8
    assert sorted(gate_text(SECRET, 0, POOL, 12).windows[:, 0].tolist()) == POOL[:, 0].tolist()


def test_no_window_comes_again_while_there_are_others() -> None:
    def rows(version: int) -> list[tuple[int, ...]]:
        return [tuple(each) for each in gate_text(SECRET, version, POOL, 4).windows.tolist()]

    for first in (1, 4):  # twelve windows are three texts of four, each once
        shown = [row for version in range(first, first + 3) for row in rows(version)]
        assert len(set(shown)) == 12
    assert [rows(n) for n in (1, 2, 3)] != [rows(n) for n in (4, 5, 6)]


def test_what_one_run_has_shown_tells_nothing_of_another_run_by_the_same_secret() -> None:
    first, second = (secret_of_run(SECRET, opening) for opening in (b"first", b"second"))
    texts = [gate_text(each, 1, POOL, 4) for each in (SECRET, first, second)]
    assert len({each.salt for each in texts}) == 3
    assert len({commitment(each) for each in texts}) == 3
    assert len({each.windows.tobytes() for each in texts}) > 1


def test_the_salt_hides_a_text_that_could_be_guessed() -> None:
    other = gate_text(SECRET[::-1], 3, POOL, 4)
    same_words = GateText(other.salt, TEXT.windows)
    assert commitment(same_words) != commitment(TEXT)


def test_any_other_byte_is_another_text() -> None:
    data, bound = TEXT.to_bytes(), commitment(TEXT)
    for at in range(0, len(data), 7):
        with pytest.raises(BadText, match="bound"):
            revealed(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], bound)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.to_bytes()[:-1],
        TEXT.to_bytes() + b"\0",
        b"ACGX" + TEXT.to_bytes()[4:],
        TEXT.to_bytes()[:8] + b"\xff\xff\xff\xff" + TEXT.to_bytes()[12:],
        TEXT.to_bytes()[:12] + b"\0\0\0\0" + TEXT.to_bytes()[16:],
        TEXT.to_bytes()[:-1] + b"\xff",
    ],
)
def test_bytes_out_of_form_are_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(BadText, match="expected"):
        read_text(data)


def test_what_cannot_be_read_back_is_not_written() -> None:
    for windows in (
        np.zeros((MAX_WINDOWS + 1, 2), np.int64),
        np.array([[1, -1]]),
        np.array([[1, 2**31]]),
        np.zeros((3, 1), np.int64),
    ):
        with pytest.raises(BadText):
            GateText(bytes(32), windows).to_bytes()
    for secret, count in ((b"short", 4), (SECRET, 13), (SECRET, 0)):
        with pytest.raises(ValueError, match="expected"):
            gate_text(secret, 0, POOL, count)
