"""A course at a door learns as our own supervised stage does: the same examples, first weights and constants."""

from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.door.client.course import Course
from archipel.door.client.examples import Example
from archipel.door.client.kept import Standing
from archipel.door.client.learning import Pupil, learn
from archipel.door.client.remote import ADAM
from archipel.door.local.fitting import Limits
from archipel.door.local.hands import LocalHands, served_as
from archipel.door.local.opening import OverBase
from archipel.door.wire.bodies import ALPHA, LoraConfig
from archipel.model.adapter import adapt, trained
from archipel.model.adapter_files import read_adapter
from archipel.records.adapter import TARGETS
from archipel.records.recipe import SupervisedSection
from archipel.training.sft import SupervisedStage, supervise
from archipel.work.resident import frozen
from door_line import door_with, line_to
from engine.engine_models import decoder_of, lively_state
from one_base import CONFIG, NAME, base_of

OFF = 1e-3
"""Nats a token between the two at any step; measured was 4.6e-4 at most, over a fall of 1.36."""
COURSE = Course(steps=40, batch=4, learning_rate=5e-3, rank=4, seed=11)


def examples() -> tuple[Example, ...]:
    """Counting on from where the prompt ends, in texts of several lengths."""
    drawn = np.random.default_rng(1)
    found = []
    for _ in range(24):
        start, read, told = drawn.integers(0, 16), drawn.integers(2, 6), drawn.integers(2, 9)
        ids = [int(start + place) % 30 for place in range(read + told)]
        found.append(Example(tuple(ids[:read]), (*ids[read:], 31)))
    return tuple(found)


def centrally(seen: tuple[Example, ...]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """By `archipel sft --adapter`'s own loop: losses, and the adapter."""
    model = frozen(decoder_of(CONFIG, lively_state(CONFIG)))
    form = LoraConfig(rank=COURSE.rank, train_unembed=False).form
    assert (form.alpha, form.targets) == (ALPHA, TARGETS)
    adapt(model, form, COURSE.seed)
    section = SupervisedSection(
        steps=COURSE.steps - COURSE.decay_steps,
        batch_size=COURSE.batch,
        learning_rate=COURSE.learning_rate,
        beta1=ADAM["beta1"],
        beta2=ADAM["beta2"],
        weight_decay=ADAM["weight_decay"],
        clip_norm=ADAM["grad_clip_norm"],
        warmup_steps=0,
        decay_steps=COURSE.decay_steps,
    )

    def example(index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        step, place = divmod(index, COURSE.batch)
        one = seen[COURSE.chosen(step, len(seen))[place]]
        return one.prompt, one.answer

    losses: list[float] = []
    supervise(model, SupervisedStage(section, example), lambda now: losses.append(now.loss))
    return losses, {name: each.detach() for name, each in trained(model).items()}


@pytest.mark.slow
def test_a_course_at_a_door_has_the_loss_of_our_own_supervised_stage_at_every_step(
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    base, seen = base_of(), examples()
    hands = LocalHands(base, OverBase(base.decoder), served_as(base, (NAME,), NAME), Limits())
    remotely: list[float] = []
    (tmp_path / "door").mkdir()
    with door_with(hands, tmp_path / "door") as found:
        one = Pupil(
            line_to(*found), NAME, COURSE, seen, (), tmp_path / "out", tmp_path / "out.partial"
        )
        learn(one, Standing(digest=""), lambda now: remotely.append(now.loss), lambda: False)
    hands.close()
    losses, state = centrally(seen)
    assert losses[-1] < losses[0] - 1.0
    apart = [abs(ours - theirs) for ours, theirs in zip(losses, remotely, strict=True)]
    print(f"losses {losses[0]:.4f} to {losses[-1]:.4f}, apart {max(apart):.2e}")
    assert max(apart) < OFF
    adapter, _ = read_adapter(tmp_path / "out", CONFIG)
    ours = torch.cat([state[name].flatten() for name in sorted(state)])
    theirs = torch.cat([adapter.state[name].float().flatten() for name in sorted(state)])
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.999
