"""A slice of `make fuzz`, and that it would notice."""

import json
import random
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from click.testing import CliRunner

from fuzz import session, trying
from fuzz.counted import BLOCKS, Counted
from fuzz.readers import READERS, Reader
from fuzz.spoiling import spoilt
from fuzz.trying import Block, Failure, block_tried, input_of, tried

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


def test_a_block_goes_through_its_seeds_and_ends_early_for_a_slow_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []

    def read(data: bytes) -> None:
        seen.append(data)
        if len(seen) == 3:
            raise ValueError("it is bad")

    reader = Reader(read, (b"abc",), ())
    monkeypatch.setattr(trying, "READERS", {"x": reader})
    block = block_tried("x", 40, 6)
    assert (block.first, block.inputs, block.end) == (40, 6, 46)
    assert [each.seed for each in block.failures] == [42]
    assert seen == [input_of(reader, seed) for seed in range(40, 46)]
    monkeypatch.setattr(trying, "BLOCK_S", -1.0)
    assert block_tried("x", 40, 6).inputs == 1


def test_a_campaign_goes_on_from_its_folder_and_tries_no_seed_twice(tmp_path: Path) -> None:
    failure = Failure("a", 205, "ValueError: no")
    counted = Counted(tmp_path)
    for block in (Block("a", 0, 200), Block("b", 0, 7), Block("a", 200, 200, (failure,))):
        counted.add(block)
    with (tmp_path / BLOCKS).open("a") as file:
        file.write('{"reader": "a", "fir')  # it was killed just then
    again = Counted(tmp_path)
    assert again.blocks == counted.blocks
    assert (again.inputs, again.of("a"), again.of("c")) == (407, 400, 0)
    assert [again.next_seed(name, 5) for name in "abc"] == [400, 7, 5]
    assert again.failures == [failure]
    assert again.table("abc")["a"] == {"inputs": 400, "failures": 1}
    again.add(Block("c", 5, 1))
    assert Counted(tmp_path).inputs == 408


@pytest.mark.slow
def test_the_command_counts_all_inputs_and_continues(tmp_path: Path) -> None:
    """A reader that is not named is not tried; the second call does what is left, the third nothing."""
    words = ["--only", "statements", "--only", "API keys", "--out", str(tmp_path), "--json"]
    told = []
    for inputs in (300, 900, 900):
        done = CliRunner().invoke(session.session, [*words, "--inputs", str(inputs)])
        assert done.exit_code == 0, done.output
        told.append(json.loads(done.stdout))
    assert [each["inputs"] >= n for each, n in zip(told, (300, 900, 900), strict=True)] == [
        True
    ] * 3
    assert told[1] == told[2]
    assert set(told[0]["readers"]) == {"statements", "API keys"}
    for name in told[1]["readers"]:
        seeds = [n for each in Counted(tmp_path).blocks if each.reader == name for n in range(each.first, each.end)]  # fmt: skip
        assert seeds == list(range(len(seeds)))


def test_a_reader_that_takes_its_process_along_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block counts as had, so the campaign goes past it."""

    class Dying:
        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, *_: object) -> Future[Block]:
            future: Future[Block] = Future()
            future.set_exception(BrokenProcessPool("it is gone"))
            return future

        def shutdown(self) -> None: ...

    monkeypatch.setattr(session, "ProcessPoolExecutor", Dying)
    counted = Counted()
    assert session.Campaign(counted, 1).run(["x"], 7, (400, None), time.monotonic() + 60)
    assert [each.line() for each in counted.failures] == [
        f"x, seed {seed}: the process that read 200 inputs from this seed on died"
        for seed in (7, 207)
    ]


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
    monkeypatch.setattr(trying, "LIMIT_S", -1.0)
    failure = tried("x", reader(None), 1)
    assert failure is not None
    assert "took" in failure.line()
    monkeypatch.setattr(trying, "HANG_S", 1)
    slow = Reader(lambda data: time.sleep(5), (b"x",), ())
    failure = tried("x", slow, 1)
    assert failure is not None
    assert "not over" in failure.line()
