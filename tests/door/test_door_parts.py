"""The door's pure parts, and its journal: order, records of samples, one commit for many acts."""

import asyncio
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door import sequences
from archipel.door.bounds import Bounds
from archipel.door.journal import Journal, JournalBroken
from archipel.door.ordering import Queued, next_together
from archipel.door.packed import operation_bytes, operation_of, outcome_bytes, outcome_of
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    OptimStep,
    Refused,
    Scored,
    Stepped,
)
from open_door import run, step, world

KINDS = st.sampled_from(["forward", "forward_backward", "optim_step", "save", "load", "publish"])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(1, 12), st.tuples(KINDS, st.integers(1, 50))),
    st.integers(1, 4),
    st.integers(1, 100),
)
def test_operations_leave_in_order_whole_and_never_past_a_gap(
    waiting: dict[int, tuple[str, int]], most: int, num_bytes: int
) -> None:
    left = [Queued(seq, *waiting[seq]) for seq in sorted(waiting)]
    done, next_seq = [], 1
    while chosen := next_together(left, next_seq, most, num_bytes):
        assert len(chosen) <= most
        assert len(chosen) == 1 or all(
            each.kind in ("forward", "forward_backward", "optim_step") for each in chosen
        )
        assert len(chosen) == 1 or sum(each.num_bytes for each in chosen) <= num_bytes
        done += [each.seq for each in chosen]
        left, next_seq = left[len(chosen) :], next_seq + len(chosen)
    gap = next(seq for seq in range(1, 14) if seq not in waiting)
    assert done == list(range(1, gap))


def datum(tokens: list[int], said: list[float], advantages: list[float]) -> Datum:
    inputs = {
        "target_tokens": np.array(tokens[1:], np.int64),
        "logprobs": np.array(said, np.float32),
        "advantages": np.array(advantages, np.float32),
    }
    return Datum(np.array(tokens[:-1], np.int32), inputs)


def record(
    name: str, prompt_length: int, tokens: list[int], logprobs: list[float]
) -> sequences.Sequence:
    return sequences.Sequence(
        name, prompt_length, np.array(tokens, np.int32), np.array(logprobs, np.float32)
    )


def test_places_that_records_cover_have_the_recorded_numbers_and_the_nearest_of_several() -> None:
    one = datum([1, 2, 3, 4, 5, 6], [0, -1, -1, 0, -3], [0, 1, 1, 0, 1])
    near, far = record("near", 2, [3, 4], [-1.1, -1.2]), record("far", 2, [3, 4], [-5, -5])
    second = record("second", 5, [6, 9], [-3.5, -7])
    other = record("other", 2, [3, 5], [-1, -1])  # goes on otherwise
    for records in ([far, near, other, second], [second, other, near, far]):
        found = sequences.covered(one, records)
        assert found.is_covered.tolist() == [False, True, True, False, True]
        assert found.logprobs.tolist() == [0, np.float32(-1.1), np.float32(-1.2), 0, -3.5]
        assert found.used == {"near", "second"}
    assert not (
        sequences.needs(one, "ppo") & ~sequences.covered(one, [near, second]).is_covered
    ).any()


def test_a_target_that_is_not_the_next_token_is_covered_by_nothing() -> None:
    one = datum([1, 2, 3, 4], [0, -1, -1], [0, 1, 1])
    one.inputs["target_tokens"][1] = 9
    found = sequences.covered(one, [record("a", 2, [3, 4], [-2, -2])])
    assert found.is_covered.tolist() == [False, False, True]


def test_prefixes_are_digested_as_prompts_are() -> None:
    one = datum([1, 2, 3, 4], [0, 0, 0], [0, 0, 0])
    found = sequences.prefixes(one, {1, 3, 40})
    assert found == {
        n: sequences.prefix_digest(np.arange(1, n + 1, dtype=np.int32)) for n in (1, 3)
    }


def test_what_is_packed_comes_back_to_the_bit() -> None:
    one = datum([1, 2, 3], [-0.1, np.float32(1e-30)], [1, 0])
    asked = ForwardBackward((one,), "ppo", {"clip_low_threshold": 0.1 + 0.2})
    again = operation_of(operation_bytes(asked))
    assert operation_bytes(again) == operation_bytes(asked)
    assert again.data[0].inputs["logprobs"].tobytes() == one.inputs["logprobs"].tobytes()
    assert operation_of(operation_bytes(OptimStep(0.1, epsilon=1e-300))) == OptimStep(
        0.1, epsilon=1e-300
    )
    scored = Scored((np.array([-0.5, np.nan], np.float32),), {"loss:sum": 0.1})
    for outcome in (scored, Stepped({"a:mean": float("inf")}), Refused("no")):
        assert outcome_bytes(outcome_of(outcome_bytes(outcome))) == outcome_bytes(outcome)


def test_acts_that_wait_share_a_commit_and_one_that_fails_undoes_itself_alone(
    tmp_path: Path,
) -> None:
    def put(db: sqlite3.Connection, name: str, fail: bool) -> None:
        db.execute("INSERT INTO sequences VALUES (?, '', x'', 0, x'', x'', '', 0)", (name,))
        if fail:
            raise ValueError(name)

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM sequences").fetchone()[0])

    async def story() -> None:
        journal = Journal(tmp_path)
        acts = [journal.do(put, str(number), number % 10 == 3) for number in range(200)]
        results = await asyncio.gather(*acts, return_exceptions=True)
        assert [str(each) for each in results if each is not None] == [
            str(n) for n in range(3, 200, 10)
        ]
        assert await journal.look(count) == 180
        assert journal.num_commits < journal.num_acts / 4
        with pytest.raises(JournalBroken, match="readonly"):
            await journal.look(put, "x", False)  # readers cannot write
        journal.close()

    run(story)
    with sqlite3.connect(tmp_path / "door.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalBroken, match="99"):
        Journal(tmp_path)


def test_an_operation_whose_predecessor_never_comes_ends_with_words_and_a_lost_answer_is_said_to_be(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        now = [10_000_000]
        bounds = Bounds(poll_s=0.2, session_ms=10**12)
        async with world(tmp_path, bounds=bounds, now_ms=lambda: now[0]) as one:
            client = await one.client()
            model = await client.model()
            first = (await client.post("optim_step", step(model, 1)))["request_id"]
            await client.end_of(first)
            lonely = (await client.post("optim_step", step(model, 3)))["request_id"]
            now[0] += bounds.missing_ms + 1
            await one.door.sweep()
            assert "operation 2" in (await client.end_of(lonely))["error"]
            now[0] += bounds.unfetched_ms
            await one.door.sweep()
            gone = await client.ask("POST", "retrieve_future", {"request_id": first})
            assert gone.status_code == 410
            again = await client.ask("POST", "optim_step", step(model, 1))
            assert again.status_code == 422  # not a second promise that is gone at once
            assert one.hands.num_trained == 1

    run(story)
