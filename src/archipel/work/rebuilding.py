"""What a release says was made, made again: its supervised stage; and how far weights lie from those that were told.

Parts: `start_again`, `Apart`, `apart`. Law: nothing is believed; what is equal is equal in every bit, and all else is
measured.
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.records.recipe import Recipe
from archipel.training.environments.apart import TaskProcessLost
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.optimiser import Diverged
from archipel.training.sft import AnothersCheckpoint, Progress
from archipel.training.start import NoSupervisedStage, Way, start_model
from archipel.work.policies import Policy

MOST_DIFFERING = 0.01
MOST_OF_A_STEP = 0.1
"""What an update may come to on another class of machine: so many of the weights differ, and all of them together by so
much of the step that the update took. docs/decisions/0078 says what was measured."""
CANNOT_BEGIN = (NoSupervisedStage, Diverged)
CANNOT_BEGIN_HERE = (AnothersCheckpoint, InvalidEnvironment, TaskProcessLost)


def start_again(
    recipe: Recipe,
    first_example: int,
    folder: Path,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Policy:
    """The weights that the recipe's supervised stage ends with, from random ones; a stage that was cut off goes on.

    folder: lasting, for this stage alone.

    Raises:
        NoSupervisedStage, Diverged: they cannot be made.
        AnothersCheckpoint, InvalidEnvironment, TaskProcessLost: not here.
    """
    out = folder / "model"
    shutil.rmtree(out, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    start_model(recipe, out, on_step, folder / "saved", None, Way(first_example=first_example))
    model = read_model(out, torch.bfloat16)
    state = {name: each.detach() for name, each in model.named_parameters()}
    return Policy(state, describe(state, 0, None))


@dataclass(frozen=True, slots=True)
class Apart:
    """How far weights lie from others."""

    differing: int
    """Numbers that are not the same."""
    numbers: int
    share: float
    """Of the way that the weights went: |made - told| / |told - before|, Euclidean; infinity where they went none."""

    @property
    def is_rounding(self) -> bool:
        """As rounding on another class of machine has it, from weights that were the same."""
        return self.differing <= MOST_DIFFERING * self.numbers and self.share <= MOST_OF_A_STEP

    def __str__(self) -> str:
        return f"{self.differing} of {self.numbers} weights differ, by {self.share:.2g} of the way that they went"


def apart(
    made: Mapping[str, Tensor], told: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> Apart:
    """Of weights by name with the same shapes; infinitely far where they have not.

    before: where the way that is the measure began.
    """
    numbers = sum(each.numel() for each in told.values())
    shapes = [{name: each.shape for name, each in state.items()} for state in (made, told, before)]
    if not shapes[0] == shapes[1] == shapes[2]:
        return Apart(numbers, numbers, math.inf)
    differing, off, way = 0, 0.0, 0.0
    for name, each in told.items():
        expected, got = each.double(), made[name].double()
        differing += int((expected != got).sum())
        off += float((got - expected).square().sum())
        way += float((expected - before[name].double()).square().sum())
    if not math.isfinite(off):
        return Apart(differing, numbers, math.inf)
    share = math.sqrt(off / way) if way else math.inf if off else 0.0
    return Apart(differing, numbers, share)
