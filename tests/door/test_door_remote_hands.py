"""Hands of a network: what a door asks of nodes comes back as it would from its own, and nothing is asked twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archipel.door.hands import CannotDo, HandsLost, SampleAsked, Turn, Weights
from archipel.records.adapter import FILES
from archipel.training.tenants.operations import Operation, OptimStep, Refused
from archipel.training.tenants.parcels import pack_operations
from toy_nodes import BASE, BEGINS, Scene, outcome_of, scored, state_after

STEP = OptimStep(1e-2)
FIRST, SECOND, THIRD = (scored(3), STEP), (scored(4), STEP), (scored(5),)


def turn(*operations: Operation, model: str = "m") -> Turn:
    return Turn(model, "ada", 1, operations)


def played(folder: Path, story: Callable[[Scene], Awaitable[None]], **pace: Any) -> Scene:
    scene = Scene(folder, **pace)

    async def play() -> None:
        async with asyncio.timeout(60), scene.plays():
            await story(scene)

    scene.world.await_(play())
    scene.world.close()
    return scene


def state_of(*turns: tuple[Operation, ...]) -> bytes:
    state = b""
    for each in turns:
        state = state_after(state, pack_operations(each))
    return state


def rates(outcomes: Any) -> list[str]:
    return [type(each).__name__ for each in outcomes]


def test_turns_go_on_from_one_another_and_what_is_kept_is_the_state_after_them(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        hands = await scene.door()
        await hands.create("m", BEGINS)
        for each in (FIRST, SECOND):
            done = await hands.train(turn(*each))
            assert rates(done.outcomes) == rates(map(outcome_of, each))
            assert done.num_tokens == len(each[0].data[0].tokens_T)
        await hands.keep("m", tmp_path / "kept")
        assert (tmp_path / "kept/state.safetensors").read_bytes() == state_of(FIRST, SECOND)
        hands.close()

    scene = played(tmp_path, story)
    assert scene.next_number == 3
    assert len(scene.world.run("door").course.answered) == 1, "what nobody needs is withdrawn"


def test_a_door_that_forgot_everything_asks_nothing_twice(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        first = await scene.door()
        await first.create("m", BEGINS)
        await first.train(turn(*FIRST))
        await first.keep("m", tmp_path / "kept")
        scene.node.waits = asyncio.Event()
        under_way = asyncio.create_task(first.train(turn(*SECOND)))
        await scene.node.called.wait()
        under_way.cancel()
        await asyncio.gather(under_way, return_exceptions=True)
        second = await scene.door()
        await second.restore("m", BEGINS, tmp_path / "kept", optimiser=True)
        scene.node.waits.set()
        # The service hands over what is done again in other turns than before.
        done = await second.train(turn(*SECOND, *THIRD))
        assert rates(done.outcomes) == rates(map(outcome_of, (*SECOND, *THIRD)))
        await second.keep("m", tmp_path / "again")

    scene = played(tmp_path, story)
    assert (tmp_path / "again/state.safetensors").read_bytes() == state_of(FIRST, SECOND, THIRD)
    assert scene.next_number == 4
    assert [spec.question for spec in scene.node.done] == [1, 2, 3], "nothing was done twice"


def test_what_the_lab_forgot_is_sent_from_what_was_kept(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        hands = await scene.door()
        await hands.create("m", BEGINS)
        await hands.train(turn(*FIRST))
        await hands.keep("m", tmp_path / "kept")
        await hands.forget("m")
        assert not scene.world.run("door").course.answered
        await hands.restore("m", BEGINS, tmp_path / "kept", optimiser=True)
        await hands.restore("other", BEGINS, tmp_path / "kept", optimiser=True)
        await hands.train(turn(*SECOND))
        await hands.keep("m", tmp_path / "again")
        await hands.train(turn(*SECOND, model="other"))

    scene = played(tmp_path, story)
    assert (tmp_path / "again/state.safetensors").read_bytes() == state_of(FIRST, SECOND)
    assert scene.node.done[1].state is not None


def test_an_answer_that_is_none_counts_as_never_asked(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.node.spoils = 1
        hands = await scene.door()
        await hands.create("m", BEGINS)
        with pytest.raises(HandsLost, match="is none"):
            await hands.train(turn(*FIRST))
        with pytest.raises(HandsLost, match="not at hand"):
            await hands.train(turn(*FIRST))
        await hands.create("m", BEGINS)
        await hands.train(turn(*FIRST))
        await hands.keep("m", tmp_path / "kept")

    scene = played(tmp_path, story)
    assert scene.next_number == 3
    assert (tmp_path / "kept/state.safetensors").read_bytes() == state_of(FIRST)


def test_a_turn_that_no_question_takes_is_cut_and_after_a_refused_operation_nothing_is_done(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        hands = await scene.door()
        await hands.create("m", BEGINS)
        cut = await hands.train(turn(*FIRST, *SECOND))
        assert rates(cut.outcomes) == ["Scored", "Stepped"] * 2
        assert [spec.num_tokens for spec in scene.node.done] == [3, 4]
        large = await hands.train(turn(scored(3), scored(7), STEP))
        assert rates(large.outcomes) == ["Scored", "Refused", "Refused"]
        assert isinstance(large.outcomes[1], Refused)
        assert "at most 6 tokens" in large.outcomes[1].reason
        bad = await hands.train(turn(scored(2, -1.0), scored(6), STEP))
        assert rates(bad.outcomes) == ["Refused"] * 3

    scene = played(tmp_path, story, turn_tokens=6)
    assert [spec.num_tokens for spec in scene.node.done] == [3, 4, 3, 2]


def test_a_full_queue_makes_room_of_what_nobody_needs(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        hands = await scene.door()
        for number in range(5):
            await hands.create(f"m{number}", BEGINS)
            await hands.train(turn(*FIRST, scored(number + 1), model=f"m{number}"))
            await hands.forget(f"m{number}") if number % 2 else None

    played(tmp_path, story, queued=4)


def asked(weights: Weights, seed: int, **fields: Any) -> SampleAsked:
    plain = SampleAsked(weights, "ada", 1, (1, 2), 2, 3, seed, 1.0, -1, 1.0, (), (), False, 0, 0)
    return replace(plain, **fields)


def test_prompts_for_the_same_weights_go_together_and_each_gets_its_own(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in FILES:
        (adapter / name).write_bytes(b"x")

    async def story(scene: Scene) -> None:
        hands = await scene.door()
        plain, over = Weights(BASE, None, ""), Weights(BASE, adapter, "a")
        alone = await hands.sample(asked(plain, 2))
        together = await asyncio.gather(
            *(hands.sample(asked(plain, seed)) for seed in (1, 2, 3)), hands.sample(asked(over, 2))
        )
        assert together[1].sequences[0].tokens == alone.sequences[0].tokens
        assert len({each.sequences[0].tokens for each in together}) == 4
        assert len(alone.sequences) == 2
        with pytest.raises(CannotDo, match="takes at most"):
            await hands.sample(asked(plain, 1, max_tokens=200))
        with pytest.raises(CannotDo, match="no base"):
            await hands.sample(asked(Weights("other", None, ""), 1))

    scene = played(tmp_path, story, sample_tokens=100)
    assert scene.next_number == 4, "three prompts were one question"
    assert not scene.world.run("door").course.answered, "what was read is withdrawn"


def test_a_form_or_base_that_the_run_does_not_take_is_refused(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        hands = await scene.door()
        wide = replace(BEGINS, form=BEGINS.form.model_copy(update={"rank": 9}))
        for form in (wide, replace(BEGINS, base="other"), replace(BEGINS, seed=-1)):
            with pytest.raises(CannotDo):
                await hands.create("m", form)

    played(tmp_path, story)


def test_nobody_waits_for_ever_where_no_node_answers(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.node.waits = asyncio.Event()
        hands = await scene.door()
        hands._asking._patience = replace(hands._asking._patience, lasts_s=0.3, away_s=0.2)
        await hands.create("m", BEGINS)
        with pytest.raises(HandsLost):
            await hands.train(turn(*FIRST))

    played(tmp_path, story)
