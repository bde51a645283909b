"""A policy that the learner is kept near: an earlier version's weights, which this process scores with itself.

Law: it is the published policy of the recipe's version, bit for bit, and stands in the learner's checkpoint: a
learner that lost its memory keeps near the same.
"""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from archipel.model.backends import AnyDecoder
from archipel.records.recipe import Recipe
from archipel.records.requests import Allowed
from archipel.training.batch import Batch
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import Site, fill, own_part, whole
from archipel.training.thrift import narrow

KEY = "reference"
"""Its tensors in a checkpoint are called `reference.<name>`."""


class Reference:
    """The reference of one run, before and after it is there."""

    def __init__(self, model: AnyDecoder, recipe: Recipe, site: Site) -> None:
        """model: the learner's, not sharded yet; it stays as it is, and is the reference of version 0."""
        self._section = recipe.reference
        decoder = copy.deepcopy(model)
        self._learned = [name for name, each in decoder.named_parameters() if each.requires_grad]
        decoder.requires_grad_(requires_grad=False)
        for name in self._learned:
            parameter = decoder.get_parameter(name)
            parameter.copy_(parameter.to(torch.bfloat16))
        narrow(decoder, recipe.memory, site)
        scoring = Scoring(memory=recipe.memory, replays_routing=False)
        self._scorer = Scorer(decoder, recipe.sampling.temperature, site, scoring)

    @classmethod
    def of(cls, model: AnyDecoder, recipe: Recipe, site: Site) -> Self | None:
        """The run's reference; None if its recipe has none."""
        return cls(model, recipe, site) if recipe.reference.coefficient else None

    @torch.no_grad()
    def look(self, version: int, decoder: AnyDecoder) -> None:
        """The learner is about to go on from `version`, whose weights `decoder` holds: perhaps those to stay near."""
        if version == self._section.version:
            theirs = dict(decoder.named_parameters())
            for name, parameter in self._parameters().items():
                own_part(parameter).copy_(own_part(theirs[name]))

    def allow(self, allowed: Allowed | None) -> None:
        """Score as the learner does (see `Trainer.allow`)."""
        self._scorer.allowed = allowed

    def coefficient(self, version: int) -> float:
        """Weight of the term in the update that goes on from `version`; 0: it has none."""
        is_there = version >= self._section.version
        return self._section.coefficient if is_there and version % self._section.every == 0 else 0.0

    @torch.no_grad()
    def logprobs(self, batch: Batch) -> Tensor:
        """Of the sampled tokens, at the learner's temperature; a collective."""
        logprobs_N, _ = self._scorer(batch)
        return logprobs_N

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: bfloat16 by name. A collective."""
        return {
            f"{KEY}.{name}": whole(parameter.detach()).to("cpu", torch.bfloat16, copy=True)
            for name, parameter in self._parameters().items()
        }

    def parts(self) -> dict[str, Tensor]:
        """The same as this process holds it: its own parts, where several share."""
        return {
            f"{KEY}.{name}": parameter.detach().to(torch.bfloat16)
            for name, parameter in self._parameters().items()
        }

    def places(self) -> dict[str, Tensor]:
        """What to set to the `parts` that were saved."""
        return {f"{KEY}.{name}": each.detach() for name, each in self._parameters().items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up where `state()` was given.

        Raises:
            KeyError: a tensor is missing. ValueError: one has another shape.
        """
        for name, parameter in self._parameters().items():
            found = tensors[f"{KEY}.{name}"]
            if found.shape != parameter.shape:
                raise ValueError(f"{KEY}.{name} has shape {found.shape}, not {parameter.shape}")
            fill(parameter, found.float())

    def _parameters(self) -> dict[str, Tensor]:
        own = dict(self._scorer.decoder.named_parameters())
        return {name: own[name] for name in self._learned}
