"""What a supervised stage ended with, and what that follows from, stated beside the weights."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from archipel import __version__
from archipel.model.manifest import describe
from archipel.records.made import NAME, Made
from archipel.records.recipe import Recipe


def state_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Of weights by name, as a version of a run that begins with them names them: in bf16."""
    state = {name: each.detach().to("cpu", torch.bfloat16) for name, each in named}
    return describe(state, 0, None).state


def state_made(
    out: Path, recipe: Recipe, began: str | None, weights: str, way: tuple[int, str]
) -> None:
    """Write it into the model directory `out`. way: (first example, class of the machine).

    Raises:
        OSError: the disk.
    """
    first_example, machine = way
    made = Made(
        recipe=recipe.canonical_bytes().decode(),
        first_example=first_example,
        began=began,
        weights=weights,
        software=f"archipel {__version__}",
        machine=machine[:200],
        threads=torch.get_num_threads(),
    )
    (out / NAME).write_bytes(made.to_bytes())
