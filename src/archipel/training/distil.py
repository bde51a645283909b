"""Distillation: a student learns from a larger model of the same vocabulary, in the room that trains everything else.

| way | who writes | what is learned | by |
|---|---|---|---|
| `on-policy` | the student | of each token log teacher - log student: the gradient of KL(student || teacher) (arXiv 2306.13649) | `rl` |
| `sequences` | the teacher | to write what it wrote (sequence-level, Kim and Rush 2016, arXiv 1606.07947) | `sft` |

Parts: `texts_of` (what the teacher writes), `imitate`, `practise`, `trainer_of`; what a lesson is: `training.lessons`. Laws: no answer and no reward of the environment is looked at, its tasks alone; what is sampled follows from the
recipe's seed and a number, so that a lesson that was stopped goes on as if it had not been.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from archipel.model.backends import AnyDecoder
from archipel.model.devices import CPU
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import SupervisedSection
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.checkpoint import has_checkpoint
from archipel.training.environments.task import Environment
from archipel.training.groups import group_request
from archipel.training.lessons import Lesson, NotDistillable
from archipel.training.report import UpdateReport
from archipel.training.rl import Rehearsal, Sample, reinforce
from archipel.training.sft import (
    AnothersCheckpoint,
    Example,
    Examples,
    Progress,
    Stamp,
    SupervisedStage,
    supervise,
)
from archipel.training.trainer import Trainer

TEXTS = 64
"""The teacher writes so many at a time."""
MAX_UNENDED = 256
"""So many texts in a row that the teacher does not end mean that it ends none."""
SAVE_EVERY = 10
"""Steps of imitation between checkpoints."""
STUDENT = "student"
"""In a checkpoint's notes: the digest of the weights that the lesson began with."""

Write = Callable[[Sequence[Request]], Sequence[Sequence[Rollout]]]
"""Requests -> per request, the teacher's rollouts in order."""


@dataclass(frozen=True)
class Stand:
    """How far a lesson is."""

    step: int
    num_steps: int
    nats: float
    """A token, of the last step: on policy log student - log teacher, else -log student of what the teacher wrote."""
    ended: float | None = None
    """On policy: share of texts that the student ended by itself."""


def texts_of(
    write: Write, lesson: Lesson, environment: Environment, tokenizer: Tokenizer
) -> Examples:
    """What the teacher writes to each training task; one that it does not end is passed over for the next that it does.

    Raises:
        NotDistillable: on a call, if it ends none of `MAX_UNENDED` in a row.
    """

    def asked(index: int) -> Request:
        request = group_request(lesson.recipe, environment, tokenizer, index)
        return replace(request, num_rollouts=1, temperature=lesson.temperature)

    @functools.lru_cache(maxsize=4)
    def texts(number: int) -> list[Example | None]:
        requests = [asked(number * TEXTS + n) for n in range(TEXTS)]
        written = [rollouts[0] for rollouts in write(requests)]
        return [
            (request.prompt, tuple(each.tokens)) if each.finished else None
            for request, each in zip(requests, written, strict=True)
        ]

    def example(index: int) -> Example:
        for later in range(index, index + MAX_UNENDED):
            if (found := texts(later // TEXTS)[later % TEXTS]) is not None:
                return found
        raise NotDistillable(
            f"the teacher ended none of {MAX_UNENDED} answers within sampling.max_new_tokens = "
            f"{lesson.recipe.sampling.max_new_tokens}; raise it, or take a teacher that ends its answers"
        )

    return example


def imitate(
    model: AnyDecoder,
    lesson: Lesson,
    examples: Examples,
    on_stand: Callable[[Stand], None] = lambda stand: None,
    checkpoints: Path | None = None,
    student: str = "",
) -> Stand:
    """Teach `model`, in place, to write what the teacher wrote. student: digest of its weights as they are.

    Raises:
        NotDistillable: see `texts_of`. Diverged, NoCheckpoint, AnothersCheckpoint: see `supervise`.
    """
    section = lesson.recipe.supervised or SupervisedSection()
    num_steps = section.steps + section.decay_steps

    def stand(progress: Progress) -> Stand:
        return Stand(progress.step, num_steps, progress.smoothed_loss or progress.loss)

    stage = SupervisedStage(
        section,
        examples,
        micro_batch_tokens=lesson.recipe.optimiser.micro_batch_tokens,
        checkpoints=checkpoints,
        stamp=_stamp(lesson, student),
        save_every=SAVE_EVERY,
        memory=lesson.recipe.memory,
    )
    return stand(supervise(model, stage, lambda progress: on_stand(stand(progress))))


def _stamp(lesson: Lesson, student: str) -> Stamp:
    hasher = hashlib.sha256(lesson.recipe.canonical_bytes())
    hasher.update(f"{student} {lesson.temperature.hex()}".encode())
    run = lesson.recipe.run
    return Stamp(run.name, run.seed, f"sha256:{hasher.hexdigest()}")


def practise(
    trainer: Trainer,
    environment: Environment,
    tokenizer: Tokenizer,
    sample: Sample,
    on_stand: Callable[[Stand], None] = lambda stand: None,
    checkpoints: Path | None = None,
) -> Stand:
    """Let the trainer's policy write, and its recipe's teacher say of each token how much better it would have been.

    Each version is saved once it was told of.

    Raises:
        Diverged: the gradient is not finite.
    """
    recipe = trainer.recipe
    rehearsal = Rehearsal(recipe, environment, tokenizer, sample, lambda shown: [0.0] * len(shown))
    last = Stand(trainer.version, recipe.run.versions, 0.0)

    def told(report: UpdateReport) -> None:
        nonlocal last
        nats = report.teacher_kl or 0.0
        last = Stand(report.version, recipe.run.versions, nats, report.finished_fraction)
        on_stand(last)

    reinforce(trainer, rehearsal, told, checkpoints)
    return last


def trainer_of(
    model: AnyDecoder,
    lesson: Lesson,
    student: str,
    checkpoints: Path | None = None,
    device: torch.device = CPU,
) -> Trainer:
    """For `practise`: from the newest checkpoint of this lesson, or from the model as it is.

    student: digest of its weights.

    Raises:
        AnothersCheckpoint: what was saved is of another recipe, teacher or student.
        WrongTeacher: the teacher cannot be read. NoCheckpoint, BadCheckpoint: what was saved is not whole.
    """
    if checkpoints is None or not has_checkpoint(checkpoints):
        trainer = Trainer(model, lesson.recipe)
        trainer.notes = {STUDENT: student}
        return trainer
    trainer = Trainer.restore(checkpoints, device=device)
    is_same = trainer.recipe.canonical_bytes() == lesson.recipe.canonical_bytes()
    if not is_same or trainer.notes.get(STUDENT) != student:
        raise AnothersCheckpoint(
            f"{checkpoints} holds version {trainer.version} of another lesson: recipe, seed, teacher, student or options "
            "differ; remove that folder or name another output"
        )
    return trainer
