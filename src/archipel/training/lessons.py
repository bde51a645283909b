"""A recipe as a lesson: what of it holds where a teacher is heard, and who may teach whom.

Parts: `Lesson`, `Given`, `lesson_of`, `require_one_tokenizer`. How it is learned: `training.distil`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from archipel.model.tokenizer import Tokenizer
from archipel.records.backends import Backend
from archipel.records.recipe import Recipe
from archipel.records.recipe_faults import explain

Way = Literal["on-policy", "sequences"]
ON_POLICY: Way = "on-policy"
SEQUENCES: Way = "sequences"
Hears = Literal["all", "samples"]


class NotDistillable(ValueError):
    """No lesson can be made of a recipe, a student or a teacher; the message says why."""


@dataclass(frozen=True)
class Lesson:
    """What is learned, how, and from whom."""

    recipe: Recipe
    """With the teacher, the number of steps and the rate of this lesson."""
    way: Way
    temperature: float
    """Of whoever writes; 0, for a teacher alone: always the likeliest token."""


@dataclass(frozen=True)
class Given:
    """What a lesson has besides its recipe; None: as the recipe has it."""

    way: Way = SEQUENCES
    steps: int | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    """None: of a student as the recipe samples, of a teacher 0, its likeliest answers."""
    hears: Hears = "all"
    """On policy: whether the teacher says of every token that could stand somewhere how likely it is, or of the sampled
    one alone; see `[teacher]`."""


def lesson_of(
    recipe: Recipe, given: Given, teacher: Path, weights: str, backend: Backend
) -> Lesson:
    """The recipe's tasks, sampling and optimiser as a lesson; what it says of rewards is left out.

    weights: the teacher's digest. backend: who computes the student.

    Raises:
        NotDistillable: episodes or adapters, or values that the recipe's parts do not allow together.
    """
    if recipe.episode is not None or recipe.adapter is not None:
        raise NotDistillable(
            "the recipe has [episode] or [adapter]; a lesson teaches whole weights in single answers: take that section out"
        )
    told = recipe.model_dump()
    told |= {"curriculum": None, "reference": {}, "market": None}
    told["algorithm"]["refill"] = 0
    told["model"]["backend"] = backend
    told["teacher"] = {
        "path": str(teacher.resolve()),
        "weights": weights,
        "weight": 1.0 if recipe.teacher is None else recipe.teacher.weight,
        "rewards": "ignored",
        "hears": given.hears,
    }
    usual = recipe.sampling.temperature if given.way == ON_POLICY else 0.0
    temperature = usual if given.temperature is None else given.temperature
    if given.way == ON_POLICY:
        told["sampling"]["temperature"] = temperature
        told["run"] |= _known(versions=given.steps)
        told["optimiser"] |= _known(learning_rate=given.learning_rate)
    else:
        told["supervised"] = _imitation(told["supervised"] or {}, given)
    try:
        return Lesson(Recipe.model_validate(told), given.way, temperature)
    except ValidationError as error:
        raise NotDistillable(f"recipe {recipe.run.name}: {explain(error)}") from None


def _known(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _imitation(section: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """The supervised section, for as many steps as asked; a fifth of them settle."""
    told = {**section, "gate": None, **_known(learning_rate=given.learning_rate)}
    if given.steps is not None:
        settling = given.steps // 5
        told |= {"steps": max(1, given.steps - settling), "decay_steps": settling}
    return told


def require_one_tokenizer(student: Tokenizer, teacher: Tokenizer, names: tuple[str, str]) -> None:
    """Both have to read the same ids as the same text, or one's words are noise to the other.

    names: of student and teacher, for the message.

    Raises:
        NotDistillable: they do not; the message says in what they differ.
    """
    ours, theirs = (_form(each) for each in (student, teacher))
    differing = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    if differing:
        sizes = f"{student.vocab_size} and {teacher.vocab_size} tokens"
        raise NotDistillable(
            f"student {names[0]} and teacher {names[1]} have different tokenizers ({sizes}; tokenizer.json differs in "
            f"{', '.join(differing)}); a teacher reads the student's own tokens: take two models of one tokenizer"
        )
    if not set(student.stop_ids) & set(teacher.stop_ids):
        raise NotDistillable(
            f"student {names[0]} ends its answers with the tokens {student.stop_ids}, teacher {names[1]} with "
            f"{teacher.stop_ids}; they need a common one: see eos_token_id in their generation_config.json"
        )


def _form(tokenizer: Tokenizer) -> dict[str, Any]:
    form: dict[str, Any] = json.loads(tokenizer.backend.to_str())
    return {key: value for key, value in form.items() if key not in ("truncation", "padding")}
