"""Hands in one process: who is served, what fails whom, and what happens to who leaves."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.door.hands import CannotDo, HandsLost, ModelForm, Turn, Weights
from archipel.door.local.fitting import Limits, Parted, state_bytes, token_bytes
from archipel.door.local.hands import LocalHands, served_as
from archipel.door.local.loading import Base
from archipel.model.adapter_files import read_adapter
from archipel.model.tokenizer import byte_tokenizer
from archipel.training.tenants.operations import Refused, Scored, Stepped
from one_base import CONFIG, FORM, NAME, PlainState, PlainTrainer, asked, base_of, of_tokens

A_MODEL = ModelForm(NAME, FORM, 1)
LIMITS = Limits(pass_tokens=32, slice_s=0.01)
Story = Callable[[LocalHands], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    config = replace(CONFIG, vocab_size=256)
    yield replace(base_of(config), tokenizer=byte_tokenizer())
    torch.set_num_threads(before)


def told(base: Base, story: Story, trainer: PlainTrainer | None = None) -> PlainTrainer:
    trainer = trainer or PlainTrainer(base.config)
    hands = LocalHands(base, trainer, served_as(base, (NAME, "alias"), NAME), LIMITS)
    try:
        asyncio.run(asyncio.wait_for(story(hands), 60))
    finally:
        hands.close()
    assert not hands._desk._thread.is_alive()
    return trainer


def turn(model: str, tokens: Sequence[int], tenant: str = "a") -> Turn:
    return Turn(model, tenant, 1, tuple(of_tokens(each) for each in tokens))


def test_a_model_is_trained_kept_published_and_sampled_from_and_goes_on_where_it_was(
    base: Base, tmp_path: Path
) -> None:
    async def story(hands: LocalHands) -> None:
        await hands.create("m", A_MODEL)
        done = await hands.train(turn("m", [5, 20, 0]))
        assert [type(each) for each in done.outcomes] == [Scored, Scored, Stepped]
        assert done.num_tokens == 25
        await hands.keep("m", tmp_path / "kept")
        await hands.publish("m", tmp_path / "published")
        adapter, _ = read_adapter(tmp_path / "published", base.config)
        assert adapter.form == FORM
        weights = Weights(NAME, tmp_path / "published", "first")
        found = await hands.sample(asked(weights=weights))
        assert found != await hands.sample(asked())
        await hands.train(turn("m", [0]))
        await hands.restore("m", A_MODEL, tmp_path / "kept", optimiser=True)
        assert (await hands.train(turn("m", [0]))).outcomes == (Stepped({"steps": 2.0}),)
        await hands.restore("m", A_MODEL, tmp_path / "kept", optimiser=False)
        assert (await hands.train(turn("m", [0]))).outcomes == (Stepped({"steps": 1.0}),)
        await hands.forget("m")
        await hands.forget("m")
        with pytest.raises(HandsLost, match="restore"):
            await hands.train(turn("m", [0]))

    told(base, story)


def test_several_models_pass_together_and_sampling_goes_on_beside_them(base: Base) -> None:
    async def story(hands: LocalHands) -> None:
        for number in range(3):
            await hands.create(str(number), A_MODEL)
        long = [hands.train(turn(str(n), [40, 0] * 20, f"t{n}")) for n in range(3)]
        sampled = hands.sample(asked("s", max_tokens=12, num_samples=1))
        *_, found = await asyncio.gather(*long, sampled)
        assert len(found.sequences[0].tokens) == 12

    trainer = told(base, story)
    assert max(len(states) for states in trainer.passes) == 3
    assert all(len({*map(id, states)}) == len(states) for states in trainer.passes)


def test_a_pass_that_fails_loses_its_models_and_who_was_beside_it_succeeds_the_next_time(
    base: Base, tmp_path: Path
) -> None:
    spoilt: list[PlainState] = []

    def fails(states: Sequence[PlainState]) -> None:
        if spoilt and spoilt[-1] in states:
            raise RuntimeError("out of memory")

    async def story(hands: LocalHands) -> None:
        for name in ("good", "bad"):
            await hands.create(name, A_MODEL)
            await hands.keep(name, tmp_path / name)
        spoilt.append(hands._models["bad"].state)
        for attempt in range(2):
            both = (hands.train(turn("good", [8] * 4)), hands.train(turn("bad", [8] * 4, "b")))
            good, bad = await asyncio.gather(*both, return_exceptions=True)
            assert isinstance(bad, HandsLost)
            assert "out of memory" in str(bad)
            assert isinstance(good, HandsLost) == (attempt == 0)
            for name in ("good", "bad"):
                await hands.restore(name, A_MODEL, tmp_path / name, optimiser=True)
            spoilt.append(hands._models["bad"].state)

    told(base, story, PlainTrainer(base.config, fails=fails))


def test_who_leaves_in_the_middle_of_a_turn_finds_its_model_gone_and_others_go_on(
    base: Base,
) -> None:
    passing, go_on = threading.Event(), threading.Event()

    def fails(states: Sequence[PlainState]) -> None:
        passing.set()
        assert go_on.wait(30)

    async def story(hands: LocalHands) -> None:
        await hands.create("m", A_MODEL)
        await hands.create("other", A_MODEL)
        task = asyncio.ensure_future(hands.train(turn("m", [8] * 50)))
        question = asyncio.ensure_future(hands.sample(asked("s", num_samples=300)))
        assert await asyncio.to_thread(passing.wait, 30)
        task.cancel()
        question.cancel()
        await asyncio.wait({task, question}, timeout=30)
        assert task.cancelled()
        assert question.cancelled()
        go_on.set()
        with pytest.raises(HandsLost):
            await hands.train(turn("m", [0]))
        await hands.train(turn("other", [8, 0]))
        for _ in range(200):
            if not hands._desk._has_work:
                break
            await asyncio.sleep(0.01)
        assert not hands._desk._has_work

    trainer = told(base, story, PlainTrainer(base.config, fails=fails))
    assert len(trainer.passes) < 10


def test_who_still_waits_when_the_door_closes_is_told_and_so_is_who_comes_later(
    base: Base,
) -> None:
    passing = threading.Event()

    async def story(hands: LocalHands) -> None:
        await hands.create("m", A_MODEL)
        tasks = [
            asyncio.ensure_future(hands.train(turn("m", [8] * 5000))),
            asyncio.ensure_future(hands.sample(asked("s", max_tokens=400, num_samples=4000))),
        ]
        assert await asyncio.to_thread(passing.wait, 30)
        await asyncio.to_thread(hands.close)
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(found, HandsLost)
            assert "ask again" in str(found)
        with pytest.raises(HandsLost, match="ask again"):
            await hands.sample(asked())

    told(base, story, PlainTrainer(base.config, fails=lambda _: passing.set()))


def test_a_thread_that_does_nothing_any_more_keeps_nobody_waiting(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.door.local.hands.BEAT_S", 0.05)
    go_on, now = threading.Event(), [0.0]

    def fails(states: Sequence[PlainState]) -> None:
        now[0] += 1e6
        assert go_on.wait(30)

    hands = LocalHands(
        base, PlainTrainer(base.config, fails=fails), served_as(base, (NAME,), NAME), LIMITS,
        lambda: now[0],
    )  # fmt: skip

    async def story() -> None:
        await hands.create("m", A_MODEL)
        with pytest.raises(HandsLost, match="start the door again"):
            await hands.train(turn("m", [8]))

    try:
        asyncio.run(asyncio.wait_for(story(), 60))
    finally:
        go_on.set()
        hands.close()


def test_what_makes_no_sense_or_does_not_fit_is_refused_with_a_sentence(
    base: Base, tmp_path: Path
) -> None:
    one = state_bytes(base.config, FORM)
    small = replace(base, parted=Parted(10**8, one * 2 - 1))

    async def story(hands: LocalHands) -> None:
        with pytest.raises(CannotDo, match="no base is called 'other'"):
            await hands.create("m", replace(A_MODEL, base="other"))
        with pytest.raises(CannotDo, match="no base is called 'other'"):
            await hands.sample(asked(weights=Weights("other", None, "")))
        await hands.create("m", A_MODEL)
        with pytest.raises(CannotDo, match="rank 1 fits"):
            await hands.create("second", A_MODEL)
        await hands.create("m", A_MODEL)  # in place of itself it has room
        await hands.keep("m", tmp_path / "kept")
        other = replace(A_MODEL, form=FORM.model_copy(update={"rank": 1}))
        with pytest.raises(CannotDo, match="another form"):
            await hands.restore("m", other, tmp_path / "kept", optimiser=True)
        with pytest.raises(CannotDo, match="cannot be read"):
            await hands.restore("m", A_MODEL, tmp_path / "none", optimiser=True)
        await hands.train(turn("m", [0]))  # it stays what it was
        await hands.forget("m")
        await hands.create("second", A_MODEL)

    told(small, story)


def test_texts_end_completions_and_a_base_without_a_tokenizer_says_so(base: Base) -> None:
    async def story(hands: LocalHands) -> None:
        plain = await hands.sample(asked(num_samples=1, max_tokens=40))
        pieces = [byte_tokenizer().pieces[each] for each in plain.sequences[0].tokens]
        stop = next(each for each in pieces if each and each.isascii()).decode()
        found = await hands.sample(asked(num_samples=1, max_tokens=40, stop_strings=(stop,)))
        assert found.sequences[0].ended_by == "stop"
        assert len(found.sequences[0].tokens) < 40
        with pytest.raises(CannotDo, match="empty"):
            await hands.sample(asked(stop_strings=("",)))

    async def without(hands: LocalHands) -> None:
        with pytest.raises(CannotDo, match="no tokenizer"):
            await hands.sample(asked(stop_strings=("x",)))

    told(base, story)
    told(replace(base, tokenizer=None), without)


def test_a_sequence_too_long_for_a_pass_is_refused_with_all_after_it_and_what_came_before_is_done(
    base: Base,
) -> None:
    narrow = replace(base, parted=Parted(20 * token_bytes(base.config), 10**8))

    async def story(hands: LocalHands) -> None:
        assert hands.models()[0].max_context_length == 20
        await hands.create("m", A_MODEL)
        done = await hands.train(turn("m", [20, 0, 21, 0]))
        assert [type(each) for each in done.outcomes] == [Scored, Stepped, Refused, Refused]
        assert "21 tokens" in str(done.outcomes[2])
        assert (await hands.train(turn("m", [0]))).outcomes == (Stepped({"steps": 2.0}),)

    told(narrow, story)
