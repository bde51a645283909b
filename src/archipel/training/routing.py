"""How a trainer's tokens find their experts: as they did when they were sampled, and what routers made of it.

A sampler's router may choose another expert than the trainer's where two are nearly alike; then the log-probabilities
part by more than rounding, and ratios of the loss with them. Where a rollout says what was chosen, that is chosen
again (routing replay, arXiv 2510.11370), and the gradient flows through the shares of those experts.
Parts: `fitting` (what of a group's choices is of use), `Routed` (the routing of a batch), `RoutingSums` and
`RoutingReport` (of one update).
Law: a stranger's choice is followed only where the trainer's own router gives each of its experts at least
`PLAUSIBLE` of the share of the least that it would have chosen: what a record can do is break ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from archipel.model.backends import AnyConfig
from archipel.model.config import DecoderConfig
from archipel.model.experts import best
from archipel.records.experts import OPEN
from archipel.training.batch import Batch, Group
from archipel.training.sharding import Site, sum_over_ranks

PLAUSIBLE = 0.5
"""Between fp32 and bf16, and over some versions of staleness, shares of tied experts part by a few hundredths."""


def fitting(group: Group, config: AnyConfig) -> Group:
    """The group, without choices that are not of a rollout's own tokens or not of this network."""
    if all(rollout.experts is None for rollout in group.rollouts):
        return group
    per_token = 0 if config.experts is None else config.experts.chosen * config.num_layers
    own = []
    for rollout in group.rollouts:
        wanted = (len(group.prompt) + len(rollout.tokens) - 1) * per_token
        fits = wanted > 0 and len(rollout.experts or b"") == wanted
        own.append(rollout if fits else replace(rollout, experts=None))
    return replace(group, rollouts=tuple(own))


@dataclass(frozen=True)
class RoutingReport:
    """What the routers of one update did, over all layers and tokens that were read."""

    load: tuple[float, ...]
    """Share of all choices that each expert got, over all layers; they add up to one."""
    load_max: float
    """Largest share that an expert of some layer got, times the number of experts: 1 is even."""
    unused_fraction: float
    """Experts of all layers that got nothing. None is ever full: no token is dropped."""
    entropy: float
    """Of a router's shares for a token, in nats; log(number of experts) if it likes all alike."""
    replayed_fraction: float
    """Choices that were taken as the sampler made them."""
    rerouted_fraction: float
    """Of those, the ones that this router would have made otherwise."""
    implausible_fraction: float
    """Choices that a rollout states and no rounding explains: they were not followed."""


class RoutingSums:
    """Running sums of one update."""

    def __init__(self, layers: int, experts: int) -> None:
        self.load_LE = torch.zeros(layers, experts, dtype=torch.float64)
        self.sums = torch.zeros(5, dtype=torch.float64)
        """Tokens times layers, entropy, replayed, rerouted, implausible."""

    @classmethod
    def of(cls, config: AnyConfig) -> Self | None:
        """Of this network; None: it has no experts."""
        return None if config.experts is None else cls(config.num_layers, config.experts.count)

    def add(self, layer: int, taken_NK: Tensor, columns: Sequence[Tensor]) -> None:
        """What one layer did with the tokens of one batch; columns: in the order of `sums`."""
        load_E = torch.bincount(taken_NK.flatten(), minlength=self.load_LE.shape[1])
        self.load_LE[layer] += load_E.double().cpu()
        self.sums += torch.stack([each.sum(dtype=torch.float64) for each in columns]).cpu()

    def take(self) -> "RoutingSums":
        """What there is, and begin again."""
        taken = RoutingSums(*self.load_LE.shape)
        taken.load_LE, self.load_LE = self.load_LE, taken.load_LE
        taken.sums, self.sums = self.sums, taken.sums
        return taken

    def report(self, site: Site) -> RoutingReport:
        """Of all ranks; a collective."""
        packed = sum_over_ranks(torch.cat((self.load_LE.flatten(), self.sums)), site)
        load_LE = packed[:-5].view_as(self.load_LE)
        tokens, entropy, replayed, rerouted, implausible = packed[-5:].tolist()
        every = load_LE.sum(1, keepdim=True).clamp(min=1)
        shares_LE = load_LE / every
        return RoutingReport(
            load=tuple(shares_LE.mean(0).tolist()),
            load_max=float(shares_LE.max()) * load_LE.shape[1],
            unused_fraction=float((load_LE == 0).double().mean()),
            entropy=entropy / max(tokens, 1.0),
            replayed_fraction=replayed / max(tokens, 1.0),
            rerouted_fraction=rerouted / max(replayed, 1.0),
            implausible_fraction=implausible / max(tokens, 1.0),
        )


class Routed:
    """The routing of one batch; see `model.experts.Routing`."""

    def __init__(self, batch: Batch, config: DecoderConfig, sums: RoutingSums | None) -> None:
        """sums: None where nobody wants to know."""
        self._real_N = (batch.segments_BT >= 0).flatten()
        self._sums, self._given_NLK = sums, None
        if batch.experts_BTC is not None:
            flat = batch.experts_BTC.flatten(0, 1)
            self._given_NLK = flat.unflatten(1, (config.num_layers, -1))

    @torch.no_grad()
    def __call__(self, layer: int, shares_NE: Tensor, chosen: int) -> Tensor:
        """See `Routing`."""
        own_NK = taken_NK = best(layer, shares_NE, chosen)
        followed_N = stated_N = torch.zeros_like(self._real_N)
        if self._given_NLK is not None:
            given_NK = self._given_NLK[:, layer].long()
            stated_N = (given_NK != OPEN).all(1) & self._real_N
            followed_N = stated_N & _plausible(given_NK, own_NK, shares_NE)
            taken_NK = torch.where(followed_N.unsqueeze(1), given_NK, own_NK)
        if self._sums is not None:
            real = self._real_N
            other_N = (own_NK.sort(1).values != taken_NK.sort(1).values).any(1)
            entropy_N = -(shares_NE * shares_NE.clamp(min=1e-20).log()).sum(1) * real
            columns = (real, entropy_N, followed_N, followed_N & other_N, stated_N & ~followed_N)
            self._sums.add(layer, taken_NK[real], columns)
        return taken_NK


def _plausible(given_NK: Tensor, own_NK: Tensor, shares_NE: Tensor) -> Tensor:
    """Rows whose given experts are there, different, and each nearly as good as the least of its own."""
    count = shares_NE.shape[1]
    sorted_NK = given_NK.sort(1).values
    are_apart_N = (sorted_NK[:, 1:] != sorted_NK[:, :-1]).all(1)
    there_N = (given_NK < count).all(1)
    least_N = shares_NE.gather(1, given_NK.clamp(max=count - 1)).amin(1)
    bound_N = PLAUSIBLE * shares_NE.gather(1, own_NK).amin(1)
    return there_N & are_apart_N & (least_N >= bound_N)
