"""What is added to a loss beside the advantages: entropy that is kept, a reference that is stayed near.

With x = reference / pi for a sampled token, k3 = x - 1 - log x is never negative, and its mean over samples of pi is
KL(pi || reference) (Schulman 2020; GRPO, arXiv 2402.03300, eq. 4). Its plain gradient is another divergence's,
though (arXiv 2506.09477), and samples come from mu. So it is weighed by r = pi / mu with the
gradient flowing into both: the gradient's mean is then exactly that of KL(pi || reference), on stale samples, too
(as in DeepSeek-V3.2, arXiv 2512.02556).
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from archipel.model.backends import AnyDecoder
from archipel.records.recipe import Recipe
from archipel.records.requests import Allowed
from archipel.training.batch import Batch
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.losses import TokenLoss, clamped_log_ratio, make_objective
from archipel.training.reference import Reference
from archipel.training.sharding import Site
from archipel.training.teacher import Teacher
from archipel.training.vocabulary import Predicted


class Terms:
    """All that a recipe makes of a batch's log-probabilities: its loss, and what is added to that."""

    def __init__(self, model: AnyDecoder, recipe: Recipe, site: Site) -> None:
        """model: the learner's, not sharded yet; it stays as it is.

        Raises:
            WrongTeacher: the recipe has a teacher, and it is not here or teaches something else.
        """
        self._objective = make_objective(recipe.loss)
        self._entropy = recipe.loss.entropy_bonus
        self._reference = Reference.of(model, recipe, site)
        self._teacher = Teacher.of(recipe, model, site)
        self._weight = 0.0

    @property
    def has_teacher(self) -> bool:
        """Whether every token teaches, whatever it earned."""
        return self._teacher is not None

    def allow(self, allowed: Allowed | None) -> None:
        """See `Trainer.allow`."""
        for other in (self._reference, self._teacher):
            if other is not None:
                other.allow(allowed)

    def begin(self, version: int, decoder: AnyDecoder) -> None:
        """The learner is about to go on from `version`, whose weights `decoder` holds."""
        if self._reference is not None:
            self._reference.look(version, decoder)
            self._weight = self._reference.coefficient(version)

    @property
    def hears_all(self) -> bool:
        """Whether a teacher says of every token that could stand somewhere how likely it is."""
        return self._teacher is not None and self._teacher.hears_all

    def loss(
        self,
        batch: Batch,
        logprobs_N: Tensor,
        entropy_N: Tensor,
        predicted: Predicted | None = None,
    ) -> TokenLoss:
        """Of each sampled token; a collective. predicted: of the same batch, where `hears_all`."""
        behaviour_N, advantages_N, teacher_kl_N = (
            batch.behaviour_logprobs_N,
            batch.advantages_N,
            None,
        )
        if self._teacher is not None and predicted is None:
            taught_N, teacher_kl_N = self._teacher.advantages(batch, logprobs_N)
            advantages_N = advantages_N + taught_N
        loss = self._objective(logprobs_N, behaviour_N, advantages_N, batch.sequences_N)
        if self._teacher is not None and predicted is not None:
            apart_N = self._teacher.divergence(batch, predicted)
            loss = replace(loss, values_N=loss.values_N + self._teacher.weight * apart_N)
            teacher_kl_N = apart_N.detach()
        if self._entropy:
            loss = with_entropy(loss, entropy_N, self._entropy)
        if self._reference is not None and self._weight:
            reference_N = self._reference.logprobs(batch)
            loss = with_reference(loss, logprobs_N, behaviour_N, reference_N, self._weight)
        return replace(loss, teacher_kl_N=teacher_kl_N)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold of it; a collective."""
        return {} if self._reference is None else self._reference.state()

    def parts(self) -> dict[str, Tensor]:
        """The same as this process holds it."""
        return {} if self._reference is None else self._reference.parts()

    def places(self) -> dict[str, Tensor]:
        """What to set to the `parts` that were saved."""
        return {} if self._reference is None else self._reference.places()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up where `state()` was given. Raises BadCheckpoint."""
        if self._reference is None:
            return
        try:
            self._reference.load(tensors)
        except (KeyError, ValueError) as error:
            raise BadCheckpoint(f"its recipe has a reference, it has none: {error}") from None


def with_entropy(loss: TokenLoss, entropy_N: Tensor, weight: float) -> TokenLoss:
    """Entropy is paid for. entropy_N: nats, differentiable."""
    return replace(loss, values_N=loss.values_N - weight * entropy_N)


def with_reference(
    loss: TokenLoss, logprobs_N: Tensor, behaviour_N: Tensor, reference_N: Tensor, weight: float
) -> TokenLoss:
    """Divergence from the reference costs. reference_N: its log-probabilities of the same tokens."""
    gap_N = clamped_log_ratio(reference_N, logprobs_N)
    divergence_N = gap_N.exp() - 1.0 - gap_N
    ratio_N = clamped_log_ratio(logprobs_N, behaviour_N).exp()
    return replace(
        loss,
        values_N=loss.values_N + weight * ratio_N * divergence_N,
        divergence_N=(ratio_N * divergence_N).detach(),
    )
