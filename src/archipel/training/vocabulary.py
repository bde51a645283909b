"""From hidden states to log-probabilities of given tokens, without a matrix of tokens x vocabulary.

A softmax over V words of N tokens takes, with its gradient, four matrices of N x V: 4.8 GB at 2048 tokens and
151,936 words. Where N x V is large, rows are therefore taken in chunks, and what the gradient needs is computed
again from the hidden states: one matrix product of the head more (of three), and memory that N does not move.
Law: both ways compute the same numbers up to the order of additions; which one is taken hangs on N and V alone.
"""
# ruff: noqa: N815 - shape suffixes: hidden_Nd

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archipel.model.cuts import Left
from archipel.training.products import linear

MAX_LOGITS = 2**24
"""Logits in memory at a time, 64 MiB in fp32; a few matrices of this size are alive at once."""


ALL = Left()


@dataclass(frozen=True)
class Form:
    """Which distribution is scored, and what of it has a gradient."""

    temperature: float
    left: Left
    learns_entropy: bool


def score_tokens(
    hidden_Nd: Tensor,
    weight_Vd: Tensor,
    targets_N: Tensor,
    temperature: float,
    *,
    learns_entropy: bool = False,
    left: Left = ALL,
) -> tuple[Tensor, Tensor]:
    """Return logprobs_N of the targets (differentiable) and entropy_N in nats (not), both fp32.

    hidden_Nd: what predicts each target. weight_Vd: the output head. Logits are divided by `temperature`.
    learns_entropy: the entropy has a gradient, too. left: what has a chance; a cut leaves the targets.
    """
    form = Form(temperature, left, learns_entropy)
    given = hidden_Nd, weight_Vd, targets_N, form
    if hidden_Nd.shape[0] * weight_Vd.shape[0] <= MAX_LOGITS:
        return _at_once(*given)
    logprobs_N, entropy_N = _Chunked.apply(*given)
    return logprobs_N, entropy_N


def score_logits(
    logits_NV: Tensor,
    targets_N: Tensor,
    temperature: float,
    *,
    learns_entropy: bool = False,
    left: Left = ALL,
) -> tuple[Tensor, Tensor]:
    """As `score_tokens`, of logits that are there already."""
    return _scored(logits_NV.float(), targets_N, Form(temperature, left, learns_entropy))


@dataclass(frozen=True)
class Predicted:
    """What N tokens are predicted from, and as which distribution."""

    hidden_Nd: Tensor
    """Hidden states; without a head, logits (N, V)."""
    weight_Vd: Tensor | None
    """The output head."""
    temperature: float
    left: Left = ALL

    def score(self, targets_N: Tensor, *, learns_entropy: bool) -> tuple[Tensor, Tensor]:
        """See `score_tokens`."""
        given = targets_N, self.temperature
        if self.weight_Vd is None:
            return score_logits(
                self.hidden_Nd, *given, learns_entropy=learns_entropy, left=self.left
            )
        return score_tokens(
            self.hidden_Nd, self.weight_Vd, *given, learns_entropy=learns_entropy, left=self.left
        )


def divergence(ours: Predicted, theirs: Predicted, targets_N: Tensor) -> Tensor:
    """KL(ours || theirs) in nats over the whole vocabulary, at each of N places (fp32); what is theirs has no gradient.

    Both have logits, or both a head. targets_N: what was sampled, which a cut leaves.
    """
    if ours.weight_Vd is None or theirs.weight_Vd is None:
        return _diverging(_logprobs_of(ours, targets_N), _logprobs_of(theirs, targets_N).detach())
    found: Tensor = _Diverging.apply(ours.hidden_Nd, ours.weight_Vd, targets_N, ours, theirs)
    return found


def _logprobs_of(predicted: Predicted, targets_N: Tensor) -> Tensor:
    """(N, V), of logits or, where a chunk of places has no matrix of them yet, of hidden states."""
    if predicted.weight_Vd is not None:
        form = Form(predicted.temperature, predicted.left, learns_entropy=False)
        return _logprobs(predicted.hidden_Nd, predicted.weight_Vd, targets_N, form)
    logits_NV = predicted.hidden_Nd.float() / predicted.temperature
    return torch.log_softmax(predicted.left.of(logits_NV, targets_N.unsqueeze(1)), dim=-1)


def _diverging(ours_NV: Tensor, theirs_NV: Tensor) -> Tensor:
    return (ours_NV.exp() * _apart(ours_NV, theirs_NV)).sum(-1)


def _apart(ours_NV: Tensor, theirs_NV: Tensor) -> Tensor:
    """By how much ours is likelier, in nats, where it has a chance; else 0."""
    return torch.where(ours_NV > -torch.inf, ours_NV - theirs_NV, 0.0)


class _Diverging(torch.autograd.Function):
    """`divergence`, a few rows at a time, forwards and backwards."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_Nd: Tensor,
        weight_Vd: Tensor,
        targets_N: Tensor,
        ours: Predicted,
        theirs: Predicted,
    ) -> Tensor:
        ctx.save_for_backward(hidden_Nd, weight_Vd, targets_N)
        ctx.sides = ours, theirs
        return torch.cat(
            [
                _diverging(*_both(ours, theirs, targets_N, rows))
                for rows in _chunks(hidden_Nd, weight_Vd)
            ]
        )

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, ...]:
        """D KL = p (log p - log q - KL), over the temperature."""
        hidden_Nd, weight_Vd, targets_N = ctx.saved_tensors
        ours, theirs = ctx.sides
        push_N = gradient_N / ours.temperature
        needs_hidden, needs_weight, *_ = ctx.needs_input_grad
        into_hidden = torch.empty_like(hidden_Nd) if needs_hidden else None
        into_weight = torch.zeros_like(weight_Vd, dtype=torch.float32) if needs_weight else None
        for rows in _chunks(hidden_Nd, weight_Vd):
            ours_CV, theirs_CV = _both(ours, theirs, targets_N, rows)
            apart_CV, chances_CV = _apart(ours_CV, theirs_CV), ours_CV.exp_()
            mean_C1 = (chances_CV * apart_CV).sum(-1, keepdim=True)
            apart_CV.sub_(mean_C1).mul_(chances_CV).mul_(push_N[rows].unsqueeze(1))
            gradient_CV = apart_CV.to(hidden_Nd.dtype)
            if into_hidden is not None:
                into_hidden[rows] = linear(gradient_CV, weight_Vd.t())
            if into_weight is not None:
                _add_product(into_weight, gradient_CV.t(), hidden_Nd[rows])
        summed = None if into_weight is None else into_weight.to(weight_Vd.dtype)
        return into_hidden, summed, None, None, None


def _both(
    ours: Predicted, theirs: Predicted, targets_N: Tensor, rows: slice
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (C, V) of both at these rows."""
    one, other = (
        _logprobs_of(replace(each, hidden_Nd=each.hidden_Nd[rows]), targets_N[rows])
        for each in (ours, theirs)
    )
    return one, other


def _at_once(
    hidden_Nd: Tensor, weight_Vd: Tensor, targets_N: Tensor, form: Form
) -> tuple[Tensor, Tensor]:
    return _scored(linear(hidden_Nd, weight_Vd).float(), targets_N, form)


def _scored(logits_NV: Tensor, targets_N: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    if form.temperature != 1.0:
        logits_NV = logits_NV / form.temperature
    logits_NV = form.left.of(logits_NV, targets_N.unsqueeze(1))
    logprobs_NV = torch.log_softmax(logits_NV, dim=-1)
    with torch.set_grad_enabled(form.learns_entropy and torch.is_grad_enabled()):
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
    return logprobs_NV.gather(1, targets_N.unsqueeze(1)).squeeze(1), entropy_N


class _Chunked(torch.autograd.Function):
    """The same, a few rows at a time, forwards and backwards."""

    @staticmethod
    def forward(
        ctx: Any, hidden_Nd: Tensor, weight_Vd: Tensor, targets_N: Tensor, form: Form
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden_Nd, weight_Vd, targets_N)
        ctx.form = form
        found, entropies = [], []
        for rows in _chunks(hidden_Nd, weight_Vd):
            logprobs_CV = _logprobs(hidden_Nd[rows], weight_Vd, targets_N[rows], form)
            found.append(logprobs_CV.gather(1, targets_N[rows].unsqueeze(1)).squeeze(1))
            entropies.append(-logprobs_CV.exp().mul_(logprobs_CV).sum(-1))
        entropy_N = torch.cat(entropies)
        if not form.learns_entropy:
            ctx.mark_non_differentiable(entropy_N)
        return torch.cat(found), entropy_N

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """D logprob = onehot - p, D entropy = -p (log p + entropy), both over the temperature."""
        hidden_Nd, weight_Vd, targets_N = ctx.saved_tensors
        form: Form = ctx.form
        gradient_N = gradients[0] / form.temperature
        needs_hidden, needs_weight, *_ = ctx.needs_input_grad
        into_hidden = torch.empty_like(hidden_Nd) if needs_hidden else None
        into_weight = torch.zeros_like(weight_Vd, dtype=torch.float32) if needs_weight else None
        for rows in _chunks(hidden_Nd, weight_Vd):
            logprobs_CV = _logprobs(hidden_Nd[rows], weight_Vd, targets_N[rows], form)
            if form.learns_entropy:
                push_C1 = (gradients[1][rows] / form.temperature).unsqueeze(1)
                factor_CV = _entropy_push(logprobs_CV, push_C1).sub_(gradient_N[rows].unsqueeze(1))
                logits_CV = logprobs_CV.exp_().mul_(factor_CV)
            else:
                logits_CV = logprobs_CV.exp_()
                logits_CV.mul_(-gradient_N[rows].unsqueeze(1))
            logits_CV.scatter_add_(1, targets_N[rows].unsqueeze(1), gradient_N[rows].unsqueeze(1))
            gradient_CV = logits_CV.to(hidden_Nd.dtype)
            if into_hidden is not None:
                into_hidden[rows] = linear(gradient_CV, weight_Vd.t())
            if into_weight is not None:
                _add_product(into_weight, gradient_CV.t(), hidden_Nd[rows])
        summed = None if into_weight is None else into_weight.to(weight_Vd.dtype)
        return into_hidden, summed, None, None


def _add_product(sum_Vd: Tensor, left_VC: Tensor, right_Cd: Tensor) -> None:
    """Chunks are added in float32: of a sum of bf16 numbers most of a small one would be lost."""
    if right_Cd.dtype == sum_Vd.dtype:
        sum_Vd.addmm_(left_VC, right_Cd)
    else:
        sum_Vd.add_(left_VC @ right_Cd)


def _entropy_push(logprobs_CV: Tensor, push_C1: Tensor) -> Tensor:
    """What p is multiplied with for the entropy's gradient: -push (log p + entropy)."""
    entropy_C1 = -(logprobs_CV.exp() * logprobs_CV).sum(-1, keepdim=True)
    return (logprobs_CV + entropy_C1).mul_(-push_C1)


def _chunks(hidden_Nd: Tensor, weight_Vd: Tensor) -> list[slice]:
    """Slices of rows whose logits are at most `MAX_LOGITS`, but at least one row."""
    rows = max(1, MAX_LOGITS // weight_Vd.shape[0])
    return [slice(start, start + rows) for start in range(0, hidden_Nd.shape[0], rows)]


def _logprobs(hidden_Cd: Tensor, weight_Vd: Tensor, targets_C: Tensor, form: Form) -> Tensor:
    """Of all words: a matrix that nobody else holds."""
    logits_CV = linear(hidden_Cd, weight_Vd).float().div_(form.temperature)
    logits_CV = form.left.of(logits_CV, targets_C.unsqueeze(1))
    return logits_CV.sub_(logits_CV.logsumexp(-1, keepdim=True))
