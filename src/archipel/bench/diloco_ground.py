"""What all ways of `bench diloco` stand on: one network, the same first weights, the same windows, one held-out text.

Parts: `Ground`, `started` (first weights: one machine trains alone for a while). Members are held in one process and
trained in turn over one network; each has its own optimiser and its own windows.
Law: the windows of an inner step are the same for all ways of one seed, whoever trains on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from archipel.bench.diloco_plan import RATES, SIZES, Budget, Way
from archipel.bench.diloco_text import Feed, Text, Windows
from archipel.model.network import Decoder, random_weights
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.member import Member
from archipel.training.inner.terms import InnerTerms
from archipel.training.inner.windows import evaluate

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Ground:
    """One size of model with one seed."""

    budget: Budget
    network: Decoder
    feed: Feed
    held_out: Windows
    start: Tensors

    def member(self, way: Way, steps: int, batch: int) -> Member:
        """New to the run: it has `steps` inner steps of `batch` windows before it."""
        budget = self.budget
        terms = InnerTerms(
            total_steps=steps,
            batch=batch,
            sequence_length=budget.sequence_length,
            learning_rate=way.rate,
            optimiser=way.optimiser,
            rest_factor=way.rest_factor,
            warmup_steps=min(budget.warmup_steps, steps // 2),
        )
        return Member(self.network, terms)

    def windows(self, first: int, num: int) -> Windows:
        """Windows number `first` on, of those that come after the start's."""
        budget = self.budget
        return self.feed.windows(budget.start_steps * budget.batch + first, num)

    def nats(self, weights: Tensors) -> float:
        """Held-out loss, nats per byte."""
        _put(self.network, weights)
        total, tokens = evaluate(self.network, [self.held_out])
        return total / tokens

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights."""
        return {name: each.shape for name, each in self.start.items()}


def ground_of(text: Text, size: str, seed: int, budget: Budget, place: Path) -> Ground:
    """Make it, or its first weights from `place` on, where an earlier measurement left them.

    Raises:
        TooShort: the text does not suffice.
    """
    network = random_weights(SIZES[size].config(budget.sequence_length), seed)
    feed = Feed(text, budget.sequence_length, seed)
    held_out = text.held_out(budget.sequence_length, budget.held_out)
    bare = Ground(budget, network, feed, held_out, _taken(network))
    return replace(bare, start=_started(bare, RATES[size].start, place))


def _started(ground: Ground, rate: float, place: Path) -> Tensors:
    """One machine's weights after `start_steps` steps at a constant rate."""
    if place.exists():
        found: Mapping[str, np.ndarray] = load_file(place)
        return found
    budget = ground.budget
    terms = InnerTerms(
        total_steps=max(1, budget.start_steps),
        batch=budget.batch,
        sequence_length=budget.sequence_length,
        learning_rate=rate,
        warmup_steps=min(20, budget.start_steps),
        schedule="constant",
    )
    batches = (
        ground.feed.windows(step * budget.batch, budget.batch) for step in range(budget.start_steps)
    )
    trained = Member(ground.network, terms).train(ground.start, batches, 0, budget.start_steps)
    weights = {name: each - trained.delta[name] for name, each in ground.start.items()}
    partial = place.with_suffix(".partial")
    save_file(weights, partial)
    partial.rename(place)
    return weights


def _taken(network: Decoder) -> Tensors:
    return {name: each.detach().numpy().copy() for name, each in network.named_parameters()}


@torch.no_grad()
def _put(network: Decoder, weights: Tensors) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
