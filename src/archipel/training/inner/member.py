"""A member: one work after another, each from the weights of a version, with what it remembers of those before.

Parts: `Trained` (what came of a work), `Member`. A work is begun (`train`), its pseudo-gradient is encoded by whoever
asked, and it is closed (`keep`) with the residual that encoding left. With a folder, what is remembered lies there,
one checkpoint file a work, whole or absent; a work begins from the newest file that is not its own. So a member
that was killed at any moment, or is asked for the same work again, gives the same bytes as one that went through.
Law: a work is a function of (base, windows, first step, what the folder holds); memory beside it decides nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archipel.model.network import Decoder
from archipel.training.checkpoint import (
    BadCheckpoint,
    Checkpoint,
    NoCheckpoint,
    checkpoint_file,
    has_checkpoint,
    read_file,
    read_latest,
    write_checkpoint,
)
from archipel.training.inner.optimiser import moment_shapes
from archipel.training.inner.state import InnerState, machine_class
from archipel.training.inner.stepping import Stepper, Tensors
from archipel.training.inner.terms import InnerTerms
from archipel.training.inner.windows import Windows
from archipel.training.sharding import this_site, wait_for_all

OnStep = Callable[[int, float], None]
"""Told after each inner step: how many of this work are done, and the loss."""
KEPT_WORKS = 3
"""Files kept: the newest, the one before it, which its work is made again from, and one to fall back on."""

NOTHING = Checkpoint(0, {}, {"work": "", "steps": 0})
"""What a member that is new to a run remembers."""
_RESIDUAL = "residual."

log = logging.getLogger(__name__)


class AnothersState(ValueError):
    """The folder holds what a member of another run remembered."""


@dataclass(frozen=True)
class Trained:
    """What came of one work."""

    delta: dict[str, np.ndarray]
    """The pseudo-gradient: the base minus the weights after the last step, float32 by parameter name."""
    losses: tuple[float, ...]
    """Nats per predicted token, before each step."""
    tokens: int
    """Predicted in all steps."""
    commitments: tuple[str, ...]
    """Digests of the state before the first step, after every `every` steps, and after the last."""
    seconds: float
    """That the steps took."""
    machine: str
    """Class of the machine: where the same bits come again."""


class Member:
    """Trains a network that it is given, in place."""

    def __init__(
        self,
        network: Decoder,
        terms: InnerTerms,
        folder: Path | None = None,
        on_step: OnStep = lambda done, loss: None,
    ) -> None:
        """folder: where the state is kept; None: in memory alone, and no work can be made again.

        Under `torchrun` every process makes the same calls (`site`), and the first one writes.
        """
        self._site = this_site()
        self._stepper = Stepper(network, terms, self._site)
        self._folder, self._on_step = folder, on_step
        self._residual: dict[str, Tensor] = {}
        self._work, self._number = "", 0

    @property
    def residual(self) -> dict[str, np.ndarray]:
        """What error feedback left of this member's contributions so far; empty: nothing yet."""
        return {name: each.numpy() for name, each in self._residual.items()}

    def train(
        self,
        base: Tensors,
        batches: Iterable[Windows],
        first_step: int,
        steps: int,
        every: int = 0,
        work: str = "",
    ) -> Trained:
        """Make the run's inner steps from `first_step` on, beginning at the weights `base`.

        batches: the windows of each step. every: inner steps of a stretch, after which the state is committed to; 0:
        nothing is. work: what it is called among this member's; one that was kept is begun again where it began.

        Raises:
            WrongBase, BadWindows, TooFewWindows: what was given does not fit. Diverged: a gradient is not finite.
            OSError: the folder cannot be read.
        """
        self._begin(base, work)
        stepper, losses, tokens = self._stepper, [], 0
        commitments = [self.state().digest()] if every else []
        began = time.monotonic()
        for loss, predicted in stepper.take(batches, first_step, steps):
            losses.append(loss)
            tokens += predicted
            if every and (len(losses) % every == 0 or len(losses) == steps):
                commitments.append(self.state().digest())
            self._on_step(len(losses), loss)
        seconds = time.monotonic() - began
        after = stepper.weights()
        delta = {name: base[name] - each.numpy() for name, each in after.items()}
        machine = machine_class(stepper.device)
        return Trained(delta, tuple(losses), tokens, tuple(commitments), seconds, machine)

    def reveal(
        self, base: Tensors, batches: Iterable[Windows], first_step: int, steps: int, work: str
    ) -> InnerState:
        """The state after `steps` steps of a work that was kept last or is to be done: made again, not stored."""
        self._begin(base, work)
        for _ in self._stepper.take(batches, first_step, steps):
            pass
        return self.state()

    def state(self) -> InnerState:
        """As it is now; its tensors change with the next step."""
        return self._stepper.state(self._residual)

    def keep(self, residual: Mapping[str, np.ndarray] | None = None) -> None:
        """Close the work that was trained last, with what encoding its pseudo-gradient left.

        Raises:
            OSError: the folder is full or not writable; what it held is untouched.
        """
        if residual is not None:
            self._residual = {
                name: torch.from_numpy(np.array(each, dtype=np.float32))
                for name, each in residual.items()
            }
        if self._folder is None:
            return
        kept = self._stepper.optimiser.moments() if self._stepper.terms.state == "kept" else {}
        kept |= {f"{_RESIDUAL}{name}": each for name, each in self._residual.items()}
        steps = self._stepper.optimiser.steps if self._stepper.terms.state == "kept" else 0
        if self._site.is_first:
            facts = {"work": self._work, "steps": steps}
            write_checkpoint(self._folder, self._number + 1, kept, facts, KEPT_WORKS)
        wait_for_all(self._site)

    def _begin(self, base: Tensors, work: str) -> None:
        """Stand where the work `work` begins."""
        optimiser = self._stepper.optimiser
        self._stepper.set_weights(base)
        if self._folder is not None:
            kept = _before(self._folder, work)
            self._number = kept.number
            self._load(kept)
        elif self._stepper.terms.state == "fresh":
            optimiser.forget()
        self._work = work

    def _load(self, kept: Checkpoint) -> None:
        moments = {n: each for n, each in kept.tensors.items() if not n.startswith(_RESIDUAL)}
        self._residual = {
            n.removeprefix(_RESIDUAL): each
            for n, each in kept.tensors.items()
            if n.startswith(_RESIDUAL)
        }
        stepper = self._stepper
        shapes, terms = stepper.shapes(), stepper.terms
        fits = moments.keys() == moment_shapes(shapes, terms).keys() if moments else True
        if not fits or any(shapes.get(n) != tuple(e.shape) for n, e in self._residual.items()):
            raise AnothersState(
                f"{self._folder} holds {len(moments)} moments and {len(self._residual)} residuals that are not of this "
                "run's network and optimiser; give each run a folder of its own"
            )
        if moments and terms.state == "kept":
            stepper.optimiser.load(moments, kept.facts["steps"])
        else:
            stepper.optimiser.forget()


def _before(folder: Path, work: str) -> Checkpoint:
    """What was kept before this work: the newest file, or the one before it where that is of the work itself."""
    if not has_checkpoint(folder):
        return NOTHING
    number = 0
    try:
        newest = read_latest(folder)
        if not work or newest.facts.get("work") != work:
            return newest
        number = newest.number - 1
        return read_file(checkpoint_file(folder, number)) if number else NOTHING
    except (NoCheckpoint, BadCheckpoint) as error:
        log.warning("what this member remembered is lost, and it begins anew: %s", error)
        return replace(NOTHING, number=number)
