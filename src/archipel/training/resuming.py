"""How a trainer continues from what was saved: which checkpoint it is, what that says of itself, and that it holds
every tensor, in its shape and type, before anything is made of it.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from archipel.model.adapter import PREFIX, adapter_shapes
from archipel.model.backends import AnyConfig, config_of, weight_shapes
from archipel.model.config import DecoderConfig
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.training.checkpoint import (
    BadCheckpoint,
    Checkpoint,
    NoCheckpoint,
    latest_number,
    read_latest,
    saved_facts,
)
from archipel.training.checkpoint_parts import (
    CheckpointInParts,
    latest_parted,
    parted_facts,
    parted_numbers,
    read_parted,
)
from archipel.training.optimiser import MasterAdamW, state_of
from archipel.training.sharding import Site, share_bytes
from archipel.training.terms import Terms

POLICY = "policy"
"""Among a checkpoint's facts."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stated:
    """What a trainer's checkpoint says of itself, beside its tensors."""

    recipe: Recipe
    config: AnyConfig
    version: int
    steps: int
    """Of the optimiser."""
    base: str | None
    notes: dict[str, Any]
    policy: str | None
    """State digest that the version was published with; None: nobody wrote it down."""

    def require_over(self, base: str | None) -> None:
        """Raises BadCheckpoint: what was saved is of an adapter over other weights than these."""
        if self.base != base:
            raise BadCheckpoint(
                f"it is of an adapter over {self.base!r:.80}; the weights at hand are {base}"
            )


def newest_number(directory: Path) -> int:
    """Of the newest checkpoint that says what it is, in one file or in parts; -1 for none. No tensor is read."""
    return max(latest_number(directory), latest_parted(directory))


def policies_of(facts: Mapping[int, Mapping[str, Any]]) -> dict[int, str | None]:
    """State digest that each version was published with, the newest first; None: nobody wrote it down."""
    found = {}
    for number in sorted(facts, reverse=True):
        said = facts[number].get(POLICY)
        found[number] = said if isinstance(said, str) else None
    return found


def saved_policies(directory: Path) -> dict[int, str | None]:
    """The same of what lies here, in one file or in parts. No tensor is read."""
    return policies_of(saved_facts(directory) | parted_facts(directory))


def newest(directory: Path, site: Site) -> Checkpoint | CheckpointInParts:
    """The newest checkpoint whose digests fit, in parts before one in a file of the same number. A collective.

    Raises:
        NoCheckpoint: there is none; the message says why for each.
    """
    in_file = latest_number(directory) if site.is_first else -1
    numbers = parted_numbers(directory) if site.is_first else []
    # One rank looks: another may see a folder of a network as it was a moment ago.
    found = json.loads(share_bytes(json.dumps([in_file, numbers]).encode(), site))
    refused = []
    for number in sorted(found[1], reverse=True):
        if number < found[0]:
            break
        try:
            return read_parted(directory, number, site)
        except BadCheckpoint as error:
            _log.warning("checkpoint refused: %s", error)
            refused.append(str(error))
    try:
        return read_latest(directory)
    except NoCheckpoint as error:
        raise NoCheckpoint("; ".join([str(error), *refused])) from None


def stated(saved: Checkpoint | CheckpointInParts) -> Stated:
    """What it says of itself, once its tensors were found to fit that.

    Raises:
        BadCheckpoint: it is no trainer's, or a tensor is missing or has another shape or type.
    """
    facts = saved.facts
    try:
        recipe = recipe_from_canonical(facts["recipe"].encode())
        config = config_of(json.loads(facts["model"]), recipe.model.backend)
        version, steps = int(facts["version"]), int(facts["optimiser_steps"])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"not a trainer's checkpoint: {error!r:.200}") from None
    tensors = saved.forms() if isinstance(saved, CheckpointInParts) else saved.tensors
    require_state_of(config, recipe, tensors)
    policy = policies_of({version: facts})[version]
    return Stated(recipe, config, version, steps, facts.get("base"), facts.get("notes", {}), policy)


def take_up(
    saved: Checkpoint | CheckpointInParts, optimiser: MasterAdamW, terms: Terms, steps: int
) -> None:
    """Set an optimiser and a loss's terms to what was saved of them. Raises BadCheckpoint."""
    if isinstance(saved, CheckpointInParts):
        saved.read_into(terms.places())
        optimiser.take_up(saved.read_into, steps)
        return
    optimiser.load(saved.tensors, steps)
    terms.load(saved.tensors)


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
