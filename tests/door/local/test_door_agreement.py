"""What is sampled is what is trained: fresh completions have the trainer's log-probabilities, so that their ratios are 1."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.door.hands import CannotDo, Completion, ModelForm, SampleAsked, Turn, Weights
from archipel.door.local.fitting import Limits
from archipel.door.local.hands import LocalHands, served_as
from archipel.door.local.opening import OverBase
from archipel.records.adapter import ALL_TARGETS, AdapterForm
from archipel.training.tenants.operations import Datum, ForwardBackward, OptimStep, Scored
from engine.engine_models import small_config
from one_base import NAME, asked, base_of

FORM = AdapterForm(rank=4, alpha_micro=8_000_000, targets=ALL_TARGETS, rank_stabilised=False)
OFF = 2e-5
"""Nats; measured were 1.2e-6 at most over all families of these tests."""


def data_of(question: SampleAsked, completions: tuple[Completion, ...]) -> tuple[Datum, ...]:
    """Prompt and completion as importance sampling takes them; the prompt has no advantage."""
    found = []
    for each in completions:
        whole = np.array([*question.prompt, *each.tokens])
        before = len(question.prompt) - 1
        inputs = {
            "target_tokens": whole[1:].astype(np.int64),
            "logprobs": np.array([0.0] * before + [*each.logprobs], np.float32),
            "advantages": np.array([0.0] * before + [1.0] * len(each.tokens), np.float32),
        }
        found.append(Datum(whole[:-1].astype(np.int32), inputs))
    return tuple(found)


@pytest.mark.parametrize(
    "config",
    [
        small_config("qwen3", num_layers=1, tie_embeddings=True),
        small_config("granite", num_layers=1),
    ],
    ids=["tied", "scaled"],
)
def test_a_fresh_sample_has_the_trainers_log_probabilities_after_some_steps(
    config: object, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    base = base_of(config)  # type: ignore[arg-type]
    hands = LocalHands(base, OverBase(base.decoder), served_as(base, (NAME,), NAME), Limits())

    async def story() -> None:
        await hands.create("m", ModelForm(NAME, FORM, 1))
        question = asked(prompt=range(1, 9), num_samples=3, max_tokens=12)
        for step in range(3):
            await hands.publish("m", tmp_path / f"{step}")
            own = replace(question, weights=Weights(NAME, tmp_path / f"{step}", f"{step}"))
            found = await hands.sample(own)
            data = data_of(own, found.sequences)
            turn = (ForwardBackward(data, "importance_sampling"), OptimStep(3e-2))
            done = await hands.train(Turn("m", "a", 1, turn))
            scored = done.outcomes[0]
            assert isinstance(scored, Scored), scored
            for each, logprobs in zip(found.sequences, scored.logprobs, strict=True):
                assert logprobs[len(own.prompt) - 1 :] == pytest.approx(each.logprobs, abs=OFF)
            num_sampled = sum(len(each.tokens) for each in found.sequences)
            assert scored.metrics["loss:sum"] == pytest.approx(-num_sampled, rel=1e-4)
            await hands.keep("m", tmp_path / "kept")
            await hands.restore("m", ModelForm(NAME, FORM, 1), tmp_path / "kept", optimiser=True)
        other = ModelForm(NAME, FORM.model_copy(update={"rank": 2}), 1)
        for form, kept in ((other, tmp_path / "kept"), (ModelForm(NAME, FORM, 1), tmp_path)):
            with pytest.raises(CannotDo, match="cannot be read"):
                await hands.restore("m", form, kept, optimiser=True)
        plain = await hands.sample(question)
        assert plain.sequences[0].logprobs != found.sequences[0].logprobs

    try:
        asyncio.run(asyncio.wait_for(story(), 60))
    finally:
        hands.close()
