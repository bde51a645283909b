"""A slice of `make fuzz`, and that it would notice."""

import random
import time

import pytest

from fuzz import session
from fuzz.readers import READERS, Reader
from fuzz.session import input_of, tried
from fuzz.spoiling import spoilt

SEEDS = range(40)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_foreign_bytes_raises_only_what_it_documents(name: str) -> None:
    reader = READERS[name]
    for specimen in reader.specimens:
        try:
            reader.read(specimen)
        except reader.errors:
            assert name in (
                "signed entries",
                "entries",
                "anchors",
                "entries of a run",
            )  # others' words, others' weights
    failures = [failure for seed in SEEDS if (failure := tried(name, reader, seed))]
    assert not failures, "\n".join(failure.line() for failure in failures)


def test_the_same_seed_draws_the_same_input_and_others_others() -> None:
    reader = READERS["statements"]
    first = [input_of(reader, seed) for seed in SEEDS]
    assert first == [input_of(reader, seed) for seed in SEEDS]
    assert len(set(first)) > len(SEEDS) // 2
    assert all(len(spoilt(random.Random(n), [b""])) <= 1_000_000 for n in range(50))


def test_what_is_undocumented_silent_or_slow_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(error: Exception | None) -> Reader:
        def read(data: bytes) -> None:
            if error is not None:
                raise error

        return Reader(read, (b"x",), (KeyError,))

    assert tried("x", reader(KeyError("said")), 1) is None
    assert tried("x", reader(None), 1) is None
    for error, what in ((KeyError(), "says nothing"), (IndexError("at 3"), "IndexError: at 3")):
        failure = tried("x", reader(error), 1)
        assert failure is not None
        assert what in failure.line()
    monkeypatch.setattr(session, "LIMIT_S", -1.0)
    failure = tried("x", reader(None), 1)
    assert failure is not None
    assert "took" in failure.line()
    monkeypatch.setattr(session, "HANG_S", 1)
    slow = Reader(lambda data: time.sleep(5), (b"x",), ())
    failure = tried("x", slow, 1)
    assert failure is not None
    assert "not over" in failure.line()
