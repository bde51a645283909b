"""A stretch of a member's work made again by somebody else, from a state that the member revealed.

Parts: `write_state` and `read_state` (a stranger's file, so bounded by what the run's network makes it), `replay_stretch`.
On one class of machine the digest after the stretch is the committed one; on another the two states are compared by
`state.distance`. Law: a file is believed when its digest is the committed one, which the caller looks at.
"""

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from torch import Tensor

from archipel.model.network import Decoder
from archipel.training.checkpoint import (
    MAX_HEADER_BYTES,
    BadCheckpoint,
    Checkpoint,
    read_file,
    write_file,
)
from archipel.training.inner.optimiser import moment_shapes
from archipel.training.inner.state import PARTS, InnerState
from archipel.training.inner.stepping import Stepper
from archipel.training.inner.terms import InnerTerms
from archipel.training.inner.windows import Windows

FORM = "archipel.inner-state/1"
MAX_STEPS = 2**40
"""Inner steps that a state may say its optimiser remembers."""
Shapes = Mapping[str, tuple[int, ...]]


class BadState(ValueError):
    """A file that is no state of this run; the message says what is wrong with it."""


def write_state(path: Path, state: InnerState) -> None:
    """Write a state down, to be revealed.

    Raises:
        OSError: the disk is full or not writable.
    """
    tensors = {
        f"{part}.{name}": each.clone()
        for part in PARTS
        for name, each in getattr(state, part).items()
    }
    write_file(path, state.steps, tensors, {"form": FORM})


def read_state(path: Path, shapes: Shapes, terms: InnerTerms) -> InnerState:
    """Read a state of a network whose parameters have these shapes; nothing longer than such a state is opened.

    Raises:
        BadState: it is missing, too long, damaged, or another network's or optimiser's.
    """
    _require_size(path, shapes, terms)
    try:
        found = read_file(path)
    except BadCheckpoint as error:
        raise BadState(f"no state of inner steps: {error}") from None
    if found.facts != {"form": FORM} or not 0 <= found.number <= MAX_STEPS:
        raise BadState(
            f"{path.name} says {found.facts!r:.80} and {found.number} steps; expected form {FORM} and 0 to {MAX_STEPS}"
        )
    return InnerState(found.number, **_parted(found, _expected(shapes, terms)))


def replay_stretch(
    network: Decoder,
    state: InnerState,
    batches: Iterable[Windows],
    first_step: int,
    steps: int,
    terms: InnerTerms,
) -> InnerState:
    """The state after `steps` inner steps, of which the first is the run's `first_step`. Trains `network` in place.

    Raises:
        WrongBase, BadWindows, TooFewWindows, Diverged: as in `Member.train`.
    """
    stepper = Stepper(network, terms)
    stepper.set_weights({name: each.numpy() for name, each in state.weights.items()})
    stepper.optimiser.load(state.moments, state.steps)
    for _ in stepper.take(batches, first_step, steps):
        pass
    return stepper.state(state.residual)


def _require_size(path: Path, shapes: Shapes, terms: InnerTerms) -> None:
    """Before a byte is read."""
    longest = 4 * sum(map(prod, _expected(shapes, terms).values())) + MAX_HEADER_BYTES
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadState(f"{path.name} cannot be read: {error.strerror}") from None
    if size > longest:
        raise BadState(
            f"{path.name} is {size} bytes; a state of this network is at most {longest}, so it is not one"
        )


def _expected(shapes: Shapes, terms: InnerTerms) -> dict[str, tuple[int, ...]]:
    """Of every tensor of a state, residual included."""
    parts = (shapes, moment_shapes(shapes, terms), shapes)
    return {
        f"{part}.{name}": tuple(shape)
        for part, held in zip(PARTS, parts, strict=True)
        for name, shape in held.items()
    }


def _parted(found: Checkpoint, expected: Shapes) -> dict[str, dict[str, Tensor]]:
    """Its tensors by part, all of them and no other, each finite float32."""
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in found.tensors.items():
        if tuple(tensor.shape) != expected.get(name) or str(tensor.dtype) != "torch.float32":
            raise BadState(
                f"tensor {name!r:.80} is {tensor.dtype} of shape {tuple(tensor.shape)}; expected float32 of "
                f"{expected.get(name, 'no such name')}"
            )
        if not tensor.isfinite().all():
            raise BadState(f"tensor {name} has numbers that are not finite")
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    for part in PARTS:
        wanted = sum(name.startswith(f"{part}.") for name in expected)
        if len(parts[part]) != wanted and (part != "residual" or parts[part]):
            raise BadState(f"{len(parts[part])} tensors of {part}; expected {wanted}")
    return parts
