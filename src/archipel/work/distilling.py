"""From two model directories to a third: a student as its teacher made it.

Parts: `Places`, `distil`. Law: the teacher's directory is read and never written; whatever stops a lesson, the same call goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.protocol import Engine
from archipel.model.backends import AnyDecoder, read_any_model
from archipel.model.config import DecoderConfig
from archipel.model.devices import ready_device
from archipel.model.directory import write_model
from archipel.model.network import Decoder
from archipel.model.new_directory import require_free
from archipel.model.stock import write_stock_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.checkpoint import remove_checkpoints
from archipel.training.distil import Stand, imitate, practise, texts_of, trainer_of
from archipel.training.environments.environment import make_environment
from archipel.training.lessons import (
    ON_POLICY,
    Given,
    Lesson,
    NotDistillable,
    lesson_of,
    require_one_tokenizer,
)
from archipel.training.rl import Sample
from archipel.training.teacher import digest_of
from archipel.work.engines import our_engine, stock_engine
from archipel.work.folders import Folder, folder_of


@dataclass(frozen=True)
class Places:
    """Where everything is."""

    student: Path
    teacher: Path
    out: Path
    """Not there yet."""
    checkpoints: Path
    device: str = "cpu"
    """Where both compute."""


def distil(
    recipe: Recipe,
    given: Given,
    places: Places,
    on_stand: Callable[[Stand], None] = lambda stand: None,
    on_written: Callable[[int], None] = lambda tokens: None,
) -> Stand:
    """Teach the student and write it to `places.out`, which appears whole.

    on_written: told, after each step of an engine, how many tokens it wrote in it.

    Raises:
        NotDistillable, WrongTeacher, InvalidEnvironment, InvalidModel, InvalidTokenizer: before any work.
        AnothersCheckpoint: `places.checkpoints` holds another lesson.
        Diverged: the numbers became none; what was saved before stays.
        NoDevice, OSError: see there.
    """
    require_free(places.out)
    device = ready_device(places.device)
    student, teacher = (_whole(path, places.device) for path in (places.student, places.teacher))
    tokenizer = Tokenizer.from_directory(places.student)
    theirs = Tokenizer.from_directory(places.teacher)
    require_one_tokenizer(tokenizer, theirs, (str(places.student), str(places.teacher)))
    weights = digest_of(read_any_model(places.teacher, teacher.backend))
    lesson = lesson_of(recipe, given, places.teacher, weights, student.backend)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    model = read_any_model(places.student, student.backend).to(device)
    began = digest_of(model)
    saved = places.checkpoints
    if lesson.way == ON_POLICY:
        trainer = trainer_of(model, lesson, began, saved, device)
        sample = sampling(model, lesson, places.device, on_written)
        last = practise(trainer, environment, tokenizer, sample, on_stand, saved)
        model = trainer.scorer.decoder
    else:
        writer = teacher.seated(None, torch.bfloat16)

        def write(requests: Sequence[Request]) -> Sequence[Sequence[Rollout]]:
            return writer.generate(requests, _grown(on_written))

        examples = texts_of(write, lesson, environment, tokenizer)
        last = imitate(model, lesson, examples, on_stand, saved, began)
    _write(places.out, model, tokenizer, places.student)
    remove_checkpoints(saved)
    return last


def sampling(
    model: AnyDecoder, lesson: Lesson, device: str, on_written: Callable[[int], None]
) -> Sample:
    """An engine for models of this architecture, given weights anew with each call."""
    config = model.config
    engine: Engine = (
        our_engine(config, lesson.recipe.sampling.contract, device)
        if isinstance(config, DecoderConfig)
        else stock_engine(config, device)
    )

    def sample(
        state: Mapping[str, Tensor], requests: Sequence[Request]
    ) -> Sequence[Sequence[Rollout]]:
        engine.load(state)
        return engine.generate(requests, _grown(on_written))

    return sample


def _grown(on_written: Callable[[int], None]) -> Callable[[int], None]:
    """Of an engine's running total over one call, what each step adds."""
    before = 0

    def told(total: int) -> None:
        nonlocal before
        on_written(total - before)
        before = total

    return told


def _whole(path: Path, device: str) -> Folder:
    """Raises NotDistillable: it is an adapter."""
    folder = folder_of(path, device=device)
    if folder.adapter is not None:
        raise NotDistillable(
            f"{path} holds an adapter; a lesson is between whole models: merge it into its model first"
        )
    return folder


def _write(out: Path, model: AnyDecoder, tokenizer: Tokenizer, like: Path) -> None:
    if isinstance(model, Decoder):
        write_model(out, model, model.config, tokenizer)
    else:
        state = {name: each.detach() for name, each in model.named_parameters()}
        write_stock_model(out, state, model.config, like)
