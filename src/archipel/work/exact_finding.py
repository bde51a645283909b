"""What has to be computed before the engine of a run is decided: how near the variants are, and what a step costs.

Parts: `find_out`. Law: what is not found out in about a minute is not decided for exact.
"""

import time
from dataclasses import replace
from pathlib import Path

from archipel.engine.engine import NonFiniteLogits
from archipel.engine.exact.backends import NoBackend
from archipel.engine.exact.choice import BadChoice, NotCloseEnough, read_choice
from archipel.engine.exact.forcing import Line
from archipel.engine.exact.scoring import BF16, FP32
from archipel.engine.exact.timing import ratio
from archipel.records.recipe import Recipe
from archipel.training.environments.apart import TaskProcessLost
from archipel.work.calibration import lines_of_recipe, lines_of_text, shipped_text
from archipel.work.exact_check import Asked, Source, Subject, Tell, check, read, state_of
from archipel.work.exact_default import BATCH, Decision, decide
from archipel.work.kind import EngineChoice, Progress

MEASURING_LIMIT_S = 60.0
SLACK = 1.5
"""Times the limit that the foreseen end may be: a forecast from the first positions is a rough one."""
TIMING_ROUNDS, TIMING_LIMIT_S = 9, 2.0
FEWEST_TASKS, MOST_TASKS = 16, 256
"""Of the recipe's, which the model answers, to be measured on its own answers."""
NUM_TOKENS, MAX_NEW_TOKENS = 1024, 64
"""Of all answers, if none ends early, and of one."""
NUM_WINDOWS = 4
"""Of the shipped text, where the recipe's tasks cannot be made."""
_FLOATS = {"float32": FP32, "bfloat16": BF16}


class _TakesTooLong(Exception):
    """The variants were not measured within the limit."""


def find_out(
    recipe: Recipe, model: Path, secret: bytes | None, tell: Tell, called: str
) -> Decision:
    """Decide for the model directory `model`, which `exact_default.by_size` left open.

    secret: of the recipe's environment, if it lies here.
    tell: told what is being done.
    called: what to call the directory.
    """
    try:
        return _found(recipe, model, secret, tell)
    except _TakesTooLong:
        return Decision(
            None,
            f"measuring the variants takes more than {MEASURING_LIMIT_S:.0f} s here: run `archipel exact check "
            f"{called} --write` first, then open the run",
        )
    except (TaskProcessLost, NoBackend, NonFiniteLogits, OSError, ValueError) as error:
        return Decision(None, f"exact could not be tried: {error!s:.300}")


def _found(recipe: Recipe, model: Path, secret: bytes | None, tell: Tell) -> Decision:
    tell("reading the weights")
    subject = read(model)
    new = None
    try:
        choice = read_choice(model, state_of(subject))
    except BadChoice:
        limit = _Limit(MEASURING_LIMIT_S)

        def tell_on(words: str) -> None:
            limit.look()
            tell(words)

        source, asked = _own_words(recipe, secret), Asked(MOST_TASKS)
        checked = check(subject, source, asked, tell_on, on_share=limit.foresee)
        try:
            choice = new = checked.choice()
        except NotCloseEnough as error:
            return Decision(None, str(error).partition(";")[0])
    tell(f"timing {choice.variant}")
    names = choice.variant, _FLOATS[EngineChoice().dtype]
    took = ratio(subject.config, subject.state, names, BATCH, TIMING_ROUNDS, TIMING_LIMIT_S)
    return replace(decide(_count(subject), choice, took), measured=new)


def _count(subject: Subject) -> int:
    return sum(weight.numel() for weight in subject.state.values())


class _Limit:
    """Ends what takes longer than it may, as soon as that is seen or can be foreseen."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._began = self._steady = time.monotonic()

    def look(self) -> None:
        """Raises _TakesTooLong."""
        if time.monotonic() - self._began > self._limit_s:
            raise _TakesTooLong

    def foresee(self, share: float) -> None:
        """`share` of what goes on steadily is done; it is 0 before that. Raises _TakesTooLong."""
        self.look()
        now = time.monotonic()
        if share == 0:
            self._steady = now
        elif now - self._began + (now - self._steady) * (1 / share - 1) > SLACK * self._limit_s:
            raise _TakesTooLong


def _own_words(recipe: Recipe, secret: bytes | None) -> Source:
    """The model's answers to the recipe's tasks, as it will sample them; else the shipped text."""
    few = min(recipe.sampling.max_new_tokens, MAX_NEW_TOKENS)
    short = recipe.sampling.model_copy(update={"max_new_tokens": few})
    asked = recipe.model_copy(update={"sampling": short})
    num_tasks = max(FEWEST_TASKS, NUM_TOKENS // few)

    def lines(subject: Subject, most: int, on_tokens: Progress) -> list[Line]:
        model = (subject.config, subject.tokenizer, subject.state)
        try:
            return lines_of_recipe(asked, model, secret, min(most, num_tasks), on_tokens)
        except (TaskProcessLost, OSError, ValueError):
            text = shipped_text()
            return lines_of_text(text, subject.tokenizer, subject.config, NUM_WINDOWS)

    return lines
