"""Models trained here, with the weights of one update before: what random weights say nothing about.

Parts: `OWN`, `own_subject`. `chars` and `words` learn the text of Python's standard library (`bench.subjects`);
`policy` is a recipe after its supervised stage and reinforcement, asked what the recipe asks.
Law: a course follows from its seed; what was trained in a folder is not trained there again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from archipel.bench import subjects
from archipel.bench.central import Bench, prepare
from archipel.bench.exact_subjects import Subject
from archipel.model.config import DecoderConfig
from archipel.model.tokenizer import tokenizer_named
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request
from archipel.training.report import UpdateReport
from archipel.training.rl import reinforce
from archipel.training.start import initial_model
from archipel.training.trainer import Trainer

OWN = ("chars", "words", "policy")
_SIZES = {"chars": ("demo", 300), "words": ("30m", 170)}
"""Which of `bench.subjects`, and how many steps it is trained."""
_STEP = 3e-6
"""Learning rate of the last step of `chars` and `words`; a policy's is its recipe's own."""
_UPDATES = 40
_SECRET = b"exact policy"
_TEXT = 20_000
_PROMPTS = 256
_ANSWER = 7
"""Tokens of a policy's answer: six letters and the end."""
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Course:
    """A model and how it is trained; `train` gives (weights before the last update, weights)."""

    config: DecoderConfig
    train: Callable[[], tuple[State, State]]


def own_subject(name: str, folder: Path, recipe: Recipe, tell: Callable[[str], None]) -> Subject:
    """One of `OWN`, trained unless `folder` has it; `words` takes some minutes of a core."""
    if name == "policy":
        course = _policy(recipe, tell)
        tokenizer = tokenizer_named(recipe.model.tokenizer)
        environment = make_environment(recipe.environment, recipe.run.seed, _SECRET)
        asked = range(_UPDATES * recipe.run.groups_per_update, 10**6)[:_PROMPTS]
        prompts = tuple(
            tuple(group_request(recipe, environment, tokenizer, index).prompt) for index in asked
        )
        subject = Subject(name, course.config, {}, prompts=prompts, num_new=_ANSWER)
    else:
        size, steps = _SIZES[name]
        chosen = replace(subjects.subject_named(size), start_steps=steps)
        course = _Course(chosen.config, lambda: _text_model(chosen, tell))
        text = subjects.tokens_of(chosen.config.vocab_size)[-_TEXT:]
        subject = Subject(name, course.config, {}, tuple(text.tolist()))
    older, state = _trained(course, folder / name)
    return replace(subject, state=state, older=older)


def _trained(course: _Course, folder: Path) -> tuple[State, State]:
    files = folder / "older.safetensors", folder / "newest.safetensors"
    if not files[1].exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path, state in zip(files, course.train(), strict=True):
            part = path.with_suffix(".part")
            save_file({name: each.contiguous() for name, each in state.items()}, part)
            part.replace(path)
    return load_file(files[0]), load_file(files[1])


def _text_model(subject: subjects.Subject, tell: Callable[[str], None]) -> tuple[State, State]:
    def on_step(step: int) -> None:
        if step % (subject.start_steps // 10 or 1) == 0:
            tell(f"training {subject.name} on text: {step} of {subject.start_steps} steps")

    learner = subjects.Learner(subject, 0, on_step)
    older = _copied(learner.published())
    learner.begin(_STEP)
    learner.step()
    return older, _copied(learner.published())


def _policy(recipe: Recipe, tell: Callable[[str], None]) -> _Course:
    config = initial_model(recipe, tokenizer_named(recipe.model.tokenizer)).config

    def train() -> tuple[State, State]:
        run = recipe.run.model_copy(update={"versions": _UPDATES, "max_staleness": 0})
        tell("training the policy: supervised stage")
        bench: Bench = prepare(recipe.model_copy(update={"run": run}), _SECRET)
        trainer = Trainer(bench.fresh_model(), bench.recipe)
        states: list[State] = []

        def on_update(report: UpdateReport) -> None:
            states[:] = [*states[-1:], _copied(trainer.published_state())]
            if trainer.version % 10 == 0:
                tell(f"training the policy: {trainer.version} of {_UPDATES} updates")

        reinforce(trainer, bench.rehearsal(), on_update)
        return states[0], states[1]

    return _Course(config, train)


def _copied(state: State) -> State:
    with torch.no_grad():
        return {name: value.detach().clone() for name, value in state.items()}
