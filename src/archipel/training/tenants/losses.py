"""The named losses of a forward and backward pass: what each makes of a sequence's log-probabilities.

All are sums over a sequence's places, never means. lp is the log-probability of the target now, mu the one recorded
when it was sampled, A its advantage, w its weight, r = exp(lp - mu), c(r) = r held between `clip_low_threshold` and
`clip_high_threshold`; stop() has no gradient.

| loss | what is summed | constants and their defaults |
|---|---|---|
| cross_entropy | -w lp | |
| importance_sampling | -r A | |
| ppo | -min(r A, c(r) A) | clip_low_threshold 0.8, clip_high_threshold 1.2 |
| cispo | -stop(c(r)) A lp | the same |
| dro | -(lp A - beta/2 (lp - mu)^2) | beta 0.01 |
| gspo | -min(s A, c(s) A), s = exp(mean of lp - mu over the sequence) | as ppo |
| stable_reinforce | -stop(min(r, cap)) A lp | cap 2 |

The mean of gspo is over places where `mask` is not 0, or where it is not given, A is not; the square of dro is summed where
`mask` is not 0, or where it is not given, everywhere.
stable_reinforce is our own: a policy gradient with truncated weights. Sources: importance_sampling, the textbook; ppo,
arXiv 1707.06347; cispo, arXiv 2506.13585; dro, arXiv 2405.19107; gspo, arXiv 2507.18071; truncation, Ionides 2008.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.training.losses import clamped_log_ratio
from archipel.training.tenants.operations import LossName

MAX_CONSTANT = 1e6


@dataclass(frozen=True)
class Constant:
    """A number that a loss takes."""

    default: float
    least: float = 0.0


LOW, HIGH = "clip_low_threshold", "clip_high_threshold"
CLIPPED = {LOW: Constant(0.8), HIGH: Constant(1.2)}
OLD = ("logprobs", "advantages")
MASK = "mask"

Constants = Mapping[str, float]
Inputs = Mapping[str, Tensor]
Loss = Callable[[Tensor, Inputs, Constants], Tensor]
"""(log-probabilities (T,), inputs by name (T,), constants) -> the sum, differentiable."""


@dataclass(frozen=True)
class Named:
    """A loss, what it needs of every datum, and its constants."""

    function: Loss
    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()
    constants: Mapping[str, Constant] = ()  # type: ignore[assignment]


def _cross_entropy(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    weights = given.get("weights")
    return -(lp_T if weights is None else weights * lp_T).sum()


def _ratio(lp_T: Tensor, given: Inputs) -> Tensor:
    return clamped_log_ratio(lp_T, given["logprobs"]).exp()


def _importance_sampling(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    return -(_ratio(lp_T, given) * given["advantages"]).sum()


def _pessimistic(ratio: Tensor, advantages_T: Tensor, constants: Constants) -> Tensor:
    held = ratio.clamp(constants[LOW], constants[HIGH])
    return -torch.minimum(ratio * advantages_T, held * advantages_T).sum()


def _ppo(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    return _pessimistic(_ratio(lp_T, given), given["advantages"], constants)


def _cispo(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    held = _ratio(lp_T, given).detach().clamp(constants[LOW], constants[HIGH])
    return -(held * given["advantages"] * lp_T).sum()


def _dro(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    apart = lp_T - given["logprobs"]
    if MASK in given:
        apart = apart * (given[MASK] != 0)
    return -(lp_T * given["advantages"] - constants["beta"] / 2 * apart.square()).sum()


def _gspo(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    counts = (given.get(MASK, given["advantages"]) != 0).to(lp_T.dtype)
    log_ratio = clamped_log_ratio(lp_T, given["logprobs"])
    ratio = ((log_ratio * counts).sum() / counts.sum().clamp(min=1.0)).exp()
    return _pessimistic(ratio, given["advantages"], constants)


def _stable_reinforce(lp_T: Tensor, given: Inputs, constants: Constants) -> Tensor:
    held = _ratio(lp_T, given).detach().clamp(max=constants["cap"])
    return -(held * given["advantages"] * lp_T).sum()


LOSSES: Mapping[LossName, Named] = {
    "cross_entropy": Named(_cross_entropy, (), ("weights",), {}),
    "importance_sampling": Named(_importance_sampling, OLD, (), {}),
    "ppo": Named(_ppo, OLD, (), CLIPPED),
    "cispo": Named(_cispo, OLD, (), CLIPPED),
    "dro": Named(_dro, OLD, (MASK,), {"beta": Constant(0.01)}),
    "gspo": Named(_gspo, OLD, (MASK,), CLIPPED),
    "stable_reinforce": Named(_stable_reinforce, OLD, (), {"cap": Constant(2.0)}),
}


def constants_of(name: LossName, config: Mapping[str, float]) -> dict[str, float]:
    """What the loss is computed with: given constants, and defaults for the others.

    Raises:
        ValueError: a constant that it does not have, or an absurd one.
    """
    known = LOSSES[name].constants
    if unknown := sorted(config.keys() - known.keys()):
        has = ", ".join(sorted(known)) or "none"
        raise ValueError(f"loss {name} has no constant {unknown[0]!r:.60}; its constants: {has}")
    found = {each: config.get(each, known[each].default) for each in known}
    for each, value in found.items():
        if not (math.isfinite(value) and known[each].least <= value <= MAX_CONSTANT):
            raise ValueError(
                f"{each} of loss {name} is {value}; expected {known[each].least:g} to {MAX_CONSTANT:g}"
            )
    if LOW in found and found[LOW] > found[HIGH]:
        raise ValueError(
            f"{LOW} is {found[LOW]:g} and {HIGH} {found[HIGH]:g}; expected the first to be the smaller"
        )
    return found


def loss_and_slope(
    name: LossName, constants: Constants, logprobs_T: Tensor, inputs: Inputs
) -> tuple[float, Tensor]:
    """The loss of one sequence, and its gradient by each log-probability (T,), fp32."""
    leaf = logprobs_T.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = LOSSES[name].function(leaf, inputs, constants)
        (slope,) = torch.autograd.grad(loss, leaf)
    return float(loss.detach()), slope
