"""All that the next inner step follows from beside its windows, and the digest that a member commits to.

Parts: `InnerState` and its digest, `fresh_state` (that of a member new to a run), `distance` (how far two states lie
apart), `machine_class` (where bits repeat), `stretches` (between which steps a work is committed to).
Law: the digest is over the digests of weights, moments and residual, so that one of them can be shown alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from archipel.model.devices import about
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.training.checkpoint import digest_of
from archipel.training.inner.optimiser import moment_shapes
from archipel.training.inner.terms import InnerTerms

PARTS = ("weights", "moments", "residual")


@dataclass(frozen=True)
class InnerState:
    """Of one member between two inner steps; float32 tensors on the CPU."""

    steps: int
    """Inner steps that the optimiser remembers."""
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    """By `<key>.<parameter>`."""
    residual: Mapping[str, Tensor] = field(default_factory=dict)
    """Of error feedback, by parameter; none before a member's first contribution."""

    def digests(self) -> dict[str, str]:
        """Of each part."""
        return {part: digest_of(getattr(self, part)) for part in PARTS}

    def digest(self) -> str:
        """Of all of it: what a member commits to."""
        return digest_of_parts(self.steps, self.digests())


def digest_of_parts(steps: int, digests: Mapping[str, str]) -> str:
    """The digest of a state whose parts have these."""
    return sha256_digest(canonical_json({"steps": steps, **digests}))


def fresh_state(base: Mapping[str, np.ndarray], terms: InnerTerms) -> InnerState:
    """Where a member that remembers nothing begins: known to whoever has the version."""
    shapes = {name: each.shape for name, each in base.items()}
    moments = {name: torch.zeros(shape) for name, shape in moment_shapes(shapes, terms).items()}
    return InnerState(0, {name: torch.from_numpy(each) for name, each in base.items()}, moments)


def stretches(steps: int, every: int) -> tuple[tuple[int, int], ...]:
    """(First step, number of steps) of each stretch of a work; the last may be shorter.

    Commitment i is to the state before stretch i, and the one after the last to the state at the end.
    """
    return tuple((first, min(every, steps - first)) for first in range(0, steps, every))


def machine_class(device: torch.device) -> str:
    """On two machines of one class the same inner steps give the same bits: device, torch, threads."""
    threads = f", threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    return about(device) + threads


def distance(ours: InnerState, theirs: InnerState) -> dict[str, float]:
    """Of each tensor of the weights and moments: norm of the difference over the norm of ours (0 where both are 0).

    Names and shapes are the same.
    """
    found = {}
    for part in ("weights", "moments"):
        for name, mine in getattr(ours, part).items():
            other = getattr(theirs, part)[name].double()
            apart, size = float((mine.double() - other).norm()), float(mine.double().norm())
            found[f"{part}.{name}"] = apart / size if size else float("inf") if apart else 0.0
    return found
