"""What is added to a loss beside the advantages: entropy that is kept, a reference that is stayed near.

With x = reference / pi for a sampled token, k3 = x - 1 - log x is never negative, and its mean over samples of pi is
KL(pi || reference) (Schulman 2020; GRPO, arXiv 2402.03300, eq. 4). Its plain gradient is another divergence's,
though (arXiv 2506.09477), and samples come from mu. So it is weighed by r = pi / mu with the
gradient flowing into both: the gradient's mean is then exactly that of KL(pi || reference), on stale samples, too
(as in DeepSeek-V3.2, arXiv 2512.02556).
"""

from dataclasses import replace

from torch import Tensor

from archipel.training.losses import TokenLoss, clamped_log_ratio


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
