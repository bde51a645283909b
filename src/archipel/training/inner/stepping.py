"""One inner step after another over a network in memory, alone or shared out over the processes of a site.

Parts: `Stepper`. Law: with one thread of a processor, and on CUDA, a step is a pure function of (weights, moments,
windows, rate) bit for bit on one machine; over several processes it is the same up to the order of additions.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np
import torch

from archipel.model.devices import in_one_order
from archipel.model.network import Decoder
from archipel.training.inner.optimiser import InnerOptimiser
from archipel.training.inner.state import InnerState
from archipel.training.inner.terms import InnerTerms
from archipel.training.inner.windows import (
    BadWindows,
    WindowLoss,
    Windows,
    checked,
    num_targets,
    parts,
)
from archipel.training.sharding import Site, fill, shard, sum_over_ranks, whole

Tensors = Mapping[str, np.ndarray]
"""float32 by parameter name."""

ALONE = Site()


class TooFewWindows(ValueError):
    """The windows end before the steps do."""


class WrongBase(ValueError):
    """Weights that are not those of the network."""


class Stepper:
    """Trains a network in place. Several may stand over one network of one process, each with its own moments."""

    def __init__(self, network: Decoder, terms: InnerTerms, site: Site = ALONE) -> None:
        """site: of several processes, each of which makes this call with the same weights: the network is sharded."""
        self.terms, self.device = terms, next(network.parameters()).device
        self._network, self._site = network, site
        self._loss = WindowLoss(network)
        shard(self._loss, network.model.layers, site, torch.float32)
        self.optimiser = InnerOptimiser(network, terms)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each parameter."""
        return {name: tuple(each.shape) for name, each in self._network.named_parameters()}

    @torch.no_grad()
    def set_weights(self, base: Tensors) -> None:
        """Go on from these.

        Raises:
            WrongBase: a name, a shape or a type is not the network's.
        """
        expected = self.shapes()
        found = {name: each.shape for name, each in base.items() if each.dtype == np.float32}
        if found != expected:
            odd = sorted(set(found.items()) ^ set(expected.items()))[:2]
            raise WrongBase(
                f"of {len(expected)} float32 tensors that the network has, or {len(base)} given, these are not in both: "
                f"{odd!r:.200}; give the weights of a version of this run"
            )
        for name, parameter in self._network.named_parameters():
            given = torch.from_numpy(np.array(base[name])).to(parameter.device)
            fill(parameter.detach(), given)

    @torch.no_grad()
    def weights(self) -> dict[str, torch.Tensor]:
        """As they are now, on the CPU: tensors themselves where they lie there whole. A collective."""
        return {
            name: whole(parameter.detach()).cpu().contiguous()
            for name, parameter in self._network.named_parameters()
        }

    def state(self, residual: Mapping[str, torch.Tensor]) -> InnerState:
        """What the next step follows from, to be read before it changes. A collective."""
        return InnerState(self.optimiser.steps, self.weights(), self.optimiser.moments(), residual)

    def take(
        self, batches: Iterable[Windows], first_step: int, steps: int
    ) -> Iterator[tuple[float, int]]:
        """Make the run's inner steps `first_step`, `first_step` + 1, ...: after each, its loss in nats and its tokens.

        Raises:
            TooFewWindows, BadWindows: of the windows. Diverged: a gradient is not finite.
        """
        done = 0
        for windows in islice(batches, steps):
            yield self.step(windows, self.terms.rate(first_step + done))
            done += 1
        if done < steps:
            raise TooFewWindows(
                f"windows for {done} inner steps were given, and {steps} are asked for; give a batch for each"
            )

    def step(self, windows: Windows, rate: float) -> tuple[float, int]:
        """One inner step; returns (mean loss in nats before it, tokens predicted)."""
        terms, site = self.terms, self._site
        fit = checked(windows, self._network.config, terms.batch, terms.sequence_length)
        tokens, nats = num_targets(fit[1]), torch.zeros((), dtype=torch.float64)
        if not tokens:
            raise BadWindows("no window has two tokens of one document in a row; nothing to learn")
        for part in parts(fit, terms.windows_at_once * site.world):
            with in_one_order(self.device):
                total = self._loss(_share(part, site)).sum()
                # FSDP2 averages gradients over ranks; the product with the rank count makes that a sum.
                (total * (site.world / tokens)).backward()
            nats += total.detach().cpu().double()
        loss = float(sum_over_ranks(nats, site)) / tokens
        self.optimiser.step(rate)
        return loss, tokens


def _share(part: Windows, site: Site) -> Windows:
    """The windows of this rank; one in which nothing is predicted where there are too few for all ranks."""
    if site.world == 1:
        return part
    tokens, documents = (each[site.rank :: site.world] for each in part)
    if len(tokens):
        return tokens, documents
    return part[0][:1], np.arange(part[1].shape[1], dtype=np.int64)[None]
