"""The demo's control, in a process of its own: supervised on from where RL began, with new data.

It learns beside RL, on whatever that leaves of the processor, and is judged after it. Law: it gets the first
weights, the recipe and as many sequences as RL has; no secret, no reward and nothing of what RL learned.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel import source_environment
from archipel.bench.endings import InOrder
from archipel.bench.site import SiteFailed
from archipel.records.recipe import Recipe, recipe_from_canonical

BEHIND = 10
"""Its priority: RL goes first; all the way back it would starve on a busy machine (nice(2))."""
POLL_S = 0.1
TAIL_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class Longer:
    """What the control does."""

    recipe: Recipe
    """With the supervised stage that goes on."""
    first_example: int
    """Where its data begins: what came before was seen."""

    @property
    def steps(self) -> int:
        """In all."""
        section = self.recipe.supervised
        return 0 if section is None else section.steps + section.decay_steps


def as_long_as_rl(recipe: Recipe, steps_done: int) -> Longer:
    """Supervision of as many sequences as RL trains on, after `steps_done` steps of the recipe's.

    Raises:
        ValueError: the recipe has no supervised stage.
    """
    run, section = recipe.run, recipe.supervised
    if section is None:
        raise ValueError("the recipe has no supervised stage to prolong")
    steps = run.versions * run.groups_per_update * run.group_size // section.batch_size
    decay = min(section.decay_steps, steps - 1)
    longer = section.model_copy(update={"steps": steps - decay, "decay_steps": decay, "gate": None})
    return Longer(recipe.model_copy(update={"supervised": longer}), steps_done * section.batch_size)


class Control(InOrder):
    """The process; leaving the block ends it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], limit_s: float) -> None:
        """folder: it writes the model directory `more-supervised` there, and its log beside that."""
        self.model = folder / "more-supervised"
        self._recipe, self._log = folder / "control.recipe", folder / "control.out"
        self._environment, self._limit_s = dict(environment), limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the one that runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def begin(self, longer: Longer, start: Path) -> None:
        """Learn on from the model directory `start`."""
        self._recipe.write_bytes(longer.recipe.canonical_bytes())
        places = map(str, (self._recipe, start, self.model))
        words = ["-m", "archipel.demo.control", *places, str(longer.first_example)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**source_environment(), **self._environment},
            )

    def finished(self, tell: Callable[[str], None]) -> Path:
        """The model directory, once it is there.

        Raises:
            SiteFailed: the process failed, or takes too long.
        """
        if self._process is None:
            raise SiteFailed("the control was not begun")
        end_s = time.monotonic() + self._limit_s
        if self._process.poll() is None:
            tell("  waiting for the control to end")
        while (code := self._process.poll()) is None and time.monotonic() < end_s:
            time.sleep(POLL_S)
        if code != 0:
            tail = self._log.read_text(errors="replace")[-TAIL_CHARACTERS:]
            how = (
                f"has no end after {self._limit_s:.0f} s" if code is None else f"ended with {code}"
            )
            raise SiteFailed(f"the control {how}: {tail}")
        return self.model


def learn(recipe: Path, start: Path, out: Path, first_example: int) -> None:
    """What the process does."""
    import torch

    from archipel.training.start import Way, start_model

    os.nice(BEHIND)
    torch.set_num_threads(1)
    longer = recipe_from_canonical(recipe.read_bytes())
    start_model(longer, out, weights=start, way=Way(first_example=first_example))


if __name__ == "__main__":
    told, begins, ends, first = sys.argv[1:]
    learn(Path(told), Path(begins), Path(ends), int(first))
