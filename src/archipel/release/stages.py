"""What a release can be made again by, stage by stage, and what came of it. Pure.

0 the supervised stage, then an update for each version, then the results sampled from each version, then evaluations.
Law: a component of the release is called made again only if all of it was, and is equal in every bit.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archipel.lab.run_story import RunStory
from archipel.release.hearing import rollouts
from archipel.release.index import Kind

Of = Literal["supervised", "update", "rollouts", "evaluation"]
Came = Literal["equal", "near", "differs", "not shown"]
"""Near: an update that is not equal, and no further away than rounding on another class of machine has it."""
ALL = "all"
PLURALS: Mapping[str, Of] = {
    "supervised": "supervised", "updates": "update", "rollouts": "rollouts", "evaluations": "evaluation",
}  # fmt: skip
_NAMED = re.compile(r"(update|rollouts|evaluation)-([0-9]{1,7})")
_CODE: Mapping[Kind, Of] = {
    "architecture": "update",
    "training_code": "update",
    "data_preprocessing": "update",
    "inference_code": "rollouts",
    "evaluation_code": "evaluation",
}
"""Components that are this software -> the stages that run them."""
_MADE: Mapping[Kind, tuple[Of, ...]] = {
    "parameters": ("supervised", "update"),
    "versions": ("supervised", "update"),
    "dataset": ("update", "rollouts"),
    "evaluation_data": ("evaluation",),
    "evaluation_results": ("evaluation",),
}
"""Components -> the stages that make them; prompts are made with the updates, held-out tasks with evaluations."""


class NoSuchStage(ValueError):
    """The message says which there are."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run that is made again by itself."""

    number: int
    of: Of
    version: int
    """That is made, sampled from, or evaluated."""
    works: tuple[str, ...] = ()
    """Results that are recomputed."""
    tokens: int = 0
    """In them."""
    run_ms: int = 0
    """What the run itself says that it took; 0: it does not say."""

    @property
    def name(self) -> str:
        """`supervised`, `update-7`, `rollouts-7`, `evaluation-10`."""
        return self.of if self.of == "supervised" else f"{self.of}-{self.version}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a stage."""

    stage: str
    came: Came
    why: str = ""
    """Of what is not equal: what was got, and what was expected."""
    wall_s: float = 0.0
    processor_s: float = 0.0


def stages_of(story: RunStory) -> tuple[Stage, ...]:
    """Of a run, in the order in which they are made again."""
    return tuple(
        Stage(number, of, version, works, tokens, run_ms)
        for number, (of, version, works, tokens, run_ms) in enumerate(_found(story))
    )


def _found(story: RunStory) -> Iterator[tuple[Of, int, tuple[str, ...], int, int]]:
    yield "supervised", 0, (), 0, 0
    for update in story.updates[1:]:
        told = update.answer.metrics
        taken = told.get("grade_ms", 0) + told.get("train_ms", 0)
        yield "update", update.answer.version, (), 0, taken
    by_version: dict[int, list[tuple[str, int, int]]] = {}
    for work, spec, answer in rollouts(story):
        by_version.setdefault(spec.version, []).append((work, answer.num_tokens, answer.busy_ms))
    for version, found in sorted(by_version.items()):
        works = tuple(work for work, _, _ in found)
        yield "rollouts", version, works, sum(t for _, t, _ in found), sum(ms for _, _, ms in found)
    for exam in sorted(story.exams, key=lambda each: each.answer.version):
        yield "evaluation", exam.answer.version, (), 0, 0


def chosen(stages: Sequence[Stage], asked: str) -> tuple[Stage, ...]:
    """Those that were asked for: `all`, a number, a name, or a kind in the plural.

    Raises:
        NoSuchStage: none is called so.
    """
    if asked == ALL:
        return tuple(stages)
    named = _NAMED.fullmatch(asked)
    found = tuple(
        each
        for each in stages
        if (asked.isdecimal() and asked.isascii() and asked == str(each.number))
        or PLURALS.get(asked) == each.of
        or (named is not None and each.name == f"{named[1]}-{int(named[2])}")
    )
    if found:
        return found
    names = ", ".join(dict.fromkeys(each.of for each in stages))
    raise NoSuchStage(
        f"no stage is called {asked!r:.60}; there are 0 to {len(stages) - 1}, {ALL}, {', '.join(PLURALS)}, and single "
        f"ones like {stages[-1].name} (of {names})"
    )


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one kind was made again, and equal."""

    of: Of
    made: int
    total: int
    """Stages; of rollouts sampled tokens."""


def shares(stages: Sequence[Stage], came: Mapping[str, Outcome]) -> tuple[Share, ...]:
    """Of the whole run. came: by the stage's name."""
    found = []
    for of in dict.fromkeys(each.of for each in stages):
        mine = [each for each in stages if each.of == of]
        size = {each.name: each.tokens if of == "rollouts" else 1 for each in mine}
        equal = sum(size[each.name] for each in mine if is_equal(each, came))
        found.append(Share(of, equal, sum(size.values())))
    return tuple(found)


def is_equal(stage: Stage, came: Mapping[str, Outcome]) -> bool:
    """Was it made again, and equal in every bit?"""
    outcome = came.get(stage.name)
    return outcome is not None and outcome.came == "equal"


def kinds_rebuilt(
    stages: Sequence[Stage], came: Mapping[str, Outcome], *, by_its_code: bool
) -> dict[Kind, bool]:
    """Kind of component -> all of it was made again, and is equal. by_its_code: the code that ran is the release's own."""
    there = {each.of for each in stages}
    whole = {of: all(is_equal(each, came) for each in stages if each.of == of) for of in there}
    made: dict[Kind, bool] = {
        kind: all(whole.get(of, False) for of in of_kinds) for kind, of_kinds in _MADE.items()
    }
    ran: dict[Kind, bool] = {
        kind: by_its_code and whole.get(of, False) for kind, of in _CODE.items()
    }
    return made | ran


def run_seconds(stages: Iterable[Stage]) -> float:
    """What the run says that these took."""
    return sum(each.run_ms for each in stages) / 1000
