"""On-policy distillation: a larger model says of each token that was sampled how much better it would have been.

The advantage of a token is log teacher - log pi, times a weight: with samples of pi its policy gradient is that of
-KL(pi || teacher), on the texts that the learner itself writes (Agarwal et al. 2024, arXiv 2306.13649; Gu et al.
2024, arXiv 2306.08543). It is added to what the reward gives, or stands alone. The losses' ratios and guards then hold
for it as for any advantage. Law: the teacher is the recipe's, digest and all, and nothing of it is ever published.
"""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from archipel.model.backends import AnyDecoder, read_any_model
from archipel.model.config_files import InvalidModel
from archipel.model.manifest import describe
from archipel.records.recipe import Recipe
from archipel.records.requests import Allowed
from archipel.training.batch import Batch
from archipel.training.losses import clamped_log_ratio
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import OneProcessOnly, Site
from archipel.training.thrift import narrow
from archipel.training.vocabulary import Predicted, divergence


class WrongTeacher(ValueError):
    """The directory is not the recipe's teacher, or no teacher of this model."""


class Teacher:
    """One run's, in memory and unchanged."""

    def __init__(self, folder: Path, recipe: Recipe, learner: AnyDecoder, site: Site) -> None:
        """learner: the model that is taught, on the device that both use.

        Raises:
            WrongTeacher: another vocabulary, other weights than the recipe names, or no model.
        """
        section = recipe.teacher
        if section is None:
            raise ValueError("the recipe has no teacher")
        try:
            decoder = read_any_model(folder, recipe.model.backend)
            decoder.requires_grad_(requires_grad=False)
            decoder = decoder.to(next(learner.parameters()).device)
        except (InvalidModel, OSError) as error:
            raise WrongTeacher(f"teacher.path: {error}") from None
        config = learner.config
        if decoder.config.vocab_size != config.vocab_size:
            raise WrongTeacher(
                f"{folder} has {decoder.config.vocab_size} tokens, the model {config.vocab_size}: a teacher reads the "
                "learner's own tokens, so both need one vocabulary"
            )
        found = digest_of(decoder)
        if section.weights is not None and found != section.weights:
            raise WrongTeacher(
                f"{folder} holds weights {found}; teacher.weights is {section.weights}"
            )
        if section.hears == "all" and site.world > 1:
            raise OneProcessOnly(
                f'teacher.hears = "all" is computed in one process, not in {site.world}: take "samples", or start the role '
                "without torchrun"
            )
        self.weight, self.hears_all = section.weight, section.hears == "all"
        narrow(decoder, recipe.memory, site)
        scoring = Scoring(memory=recipe.memory, replays_routing=False)
        self._scorer = Scorer(decoder, recipe.sampling.temperature, site, scoring)

    @classmethod
    def of(cls, recipe: Recipe, learner: AnyDecoder, site: Site) -> Self | None:
        """The run's; None where its recipe has none."""
        if recipe.teacher is None:
            return None
        return cls(Path(recipe.teacher.path), recipe, learner, site)

    def allow(self, allowed: Allowed | None) -> None:
        """Score as the learner does (see `Trainer.allow`)."""
        self._scorer.allowed = allowed

    @torch.no_grad()
    def advantages(self, batch: Batch, logprobs_N: Tensor) -> tuple[Tensor, Tensor]:
        """What each sampled token gains by it, and log pi - log teacher in nats; a collective."""
        theirs_N, _ = self._scorer(batch)
        gap_N = clamped_log_ratio(theirs_N, logprobs_N.detach())
        return self.weight * gap_N, -gap_N

    def divergence(self, batch: Batch, predicted: Predicted) -> Tensor:
        """KL(pi || teacher) in nats at each place, over all tokens that could stand there; pi alone has a gradient."""
        with torch.no_grad():
            theirs = self._scorer.predicted(batch)
        return divergence(predicted, theirs, batch.targets_N)


def digest_of(decoder: torch.nn.Module) -> str:
    """State digest of a model's weights as bfloat16, as a run's versions have it."""
    state = {
        name: parameter.detach().to("cpu", torch.bfloat16)
        for name, parameter in decoder.named_parameters()
    }
    return describe(state, 0, None).state
