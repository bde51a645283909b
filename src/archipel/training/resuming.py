"""What a trainer's checkpoint has to hold before anything is made of it: every tensor, in its shape and type."""

from collections.abc import Mapping

from torch import Tensor

from archipel.model.adapter import PREFIX, adapter_shapes
from archipel.model.backends import AnyConfig, weight_shapes
from archipel.model.config import DecoderConfig
from archipel.records.recipe import Recipe
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.optimiser import state_of


def require_state_of(config: AnyConfig, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """A description must not make us allocate more than the tensors beside it: they have to fit.

    Raises:
        BadCheckpoint: a tensor is missing, or has another shape or type.
    """
    for name, shape in _trained_shapes(config, recipe).items():
        for key, (expected, dtype) in state_of(shape, recipe.memory).items():
            found = tensors.get(f"{key}.{name}")
            if found is None or found.shape != expected or found.dtype != dtype:
                got = "is missing" if found is None else f"has shape {found.shape}, {found.dtype}"
                raise BadCheckpoint(f"{key}.{name} {got}; expected {expected}, {dtype}")


def _trained_shapes(config: AnyConfig, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    if recipe.adapter is None or not isinstance(config, DecoderConfig):
        return dict(weight_shapes(config))
    shapes = adapter_shapes(config, recipe.adapter.form)
    return {name.removeprefix(PREFIX): tuple(shape) for name, shape in shapes.items()}
