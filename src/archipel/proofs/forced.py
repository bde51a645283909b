"""Forced sampling: whether each token of a floating-point result is what the run's noise selects.

The noise of a token follows from (seed of the group, rollout, position), never from who samples; a token is the
first whose cumulative probability exceeds it (`engine.sampler`). So a verifier feeds the claimed tokens to the
claimed weights in one prefill and sees by how much probability the noise misses the claimed token: `excess`, 0
where the token is the right one. Rounding moves the borders of tokens a little; other weights, another temperature
or other noise move more. Beside it stands the log-probability that was claimed against the recomputed one.
Related: Token-DiFR (arXiv 2511.20621), which scores margins of Gumbel noise in the same way.
Law: what cannot be checked is `BadClaim`; what is too thin to be judged abstains (`record`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archipel.engine.exact.replay import Recorded
from archipel.engine.noise import uniforms
from archipel.model.cuts import AllowedRows, CutRows
from archipel.model.devices import running_sums
from archipel.model.network import Decoder, causal_attention
from archipel.records.episodes import RETOLD, SAMPLED
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.samples import samples_of

MAX_LOGITS = 1 << 22
"""Logits at a time; each takes some 30 bytes on its way."""
PREFILL_TOKENS = 4096
CERTAIN = 0.99
"""A likelier best token is taken whatever the noise says, and tells nothing of it."""
LEAST = math.log(1e-30)
"""No log-probability counts as less: a cut leaves tokens with none at all."""


class BadClaim(ValueError):
    """What is claimed cannot have been sampled by this model as it was asked."""


@dataclass(frozen=True)
class Checked:
    """One rollout's sampled tokens; arrays are (n,)."""

    excess: NDArray[np.float64]
    """Probability between the noise and the claimed token's interval; 0 inside it."""
    peaks: NDArray[np.float64]
    """Probability of the best token."""
    differences: NDArray[np.float64]
    """Claimed log-probability less the recomputed one, in nats."""
    slopes: NDArray[np.float64]
    """How much the recomputed one grows with the logarithm of the temperature."""
    hidden: NDArray[np.uint16]
    """(tokens, d), bf16 patterns of the last hidden state that each token, sampled or not, was predicted from; none of
    a context told anew."""

    @classmethod
    def joined(cls, parts: Sequence["Checked"]) -> "Checked":
        """One of the samples of one episode."""
        names = [each.name for each in fields(cls)]
        return cls(*(np.concatenate([getattr(each, name) for each in parts]) for name in names))


@dataclass(frozen=True)
class Statistics:
    """One answer's evidence: of every figure, more is worse."""

    tokens: int
    drawn: int
    """Tokens by which the noise decided something."""
    flips: float
    """Share of those that the noise does not select."""
    excess_mean: float
    """Over the same tokens."""
    excess_largest: float
    logprob_mean: float
    """Mean |claimed - recomputed|, nats."""
    logprob_largest: float
    logprob_bias: float
    """|mean of claimed - recomputed|, nats: rounding goes both ways."""
    temperature: float
    """By how large a share of it another temperature explains the differences best (least squares), up or down."""


def statistics(checked: Sequence[Checked]) -> Statistics:
    """Of all rollouts of an answer together.

    Raises:
        BadClaim: nothing was sampled.
    """
    if not checked or not sum(len(each.excess) for each in checked):
        raise BadClaim("an answer without a sampled token; expected at least one")
    excess = np.concatenate([each.excess for each in checked])
    drawn = excess[np.concatenate([each.peaks for each in checked]) < CERTAIN]
    apart = np.concatenate([each.differences for each in checked])
    slopes = np.concatenate([each.slopes for each in checked])
    steepness = float(slopes @ slopes)
    return Statistics(
        tokens=len(excess),
        drawn=len(drawn),
        flips=float((drawn > 0).mean()) if len(drawn) else 0.0,
        excess_mean=float(drawn.mean()) if len(drawn) else 0.0,
        excess_largest=float(excess.max()),
        logprob_mean=float(np.abs(apart).mean()),
        logprob_largest=float(np.abs(apart).max()),
        logprob_bias=float(abs(apart.mean())),
        temperature=abs(float(slopes @ apart)) / steepness if steepness > 0 else 0.0,
    )


NAMES = tuple(each.name for each in fields(Statistics) if each.name not in ("tokens", "drawn"))
"""The figures that thresholds are set for."""


class Forcing:
    """Checks what was recorded by weights that it holds."""

    def __init__(self, decoder: Decoder, prefill_tokens: int = PREFILL_TOKENS) -> None:
        """prefill_tokens: rows times the longest of one pass; a longer row has one of its own."""
        self._decoder, self._most = decoder, prefill_tokens

    @torch.inference_mode()
    def check(self, recorded: Recorded) -> list[Checked]:
        """Each rollout, in the order of `recorded.rollouts`, after one prefill of prompt and completion.

        Raises:
            BadClaim: tokens, log-probabilities or lengths that no sampling gives, or an adapter is named.
        """
        claims = list(recorded.rollouts.items())
        whole = [claim for claim in claims if RETOLD not in (claim[1].sampled or b"")]
        found = self._checked(recorded.request, whole)
        for number, rollout in claims:
            if number not in found:
                found[number] = self._by_samples(recorded.request, number, rollout)
        return [found[number] for number, _ in claims]

    def _by_samples(self, request: Request, number: int, rollout: Rollout) -> Checked:
        """An episode whose context was told anew: each sample after its own prompt, by the noise of its place."""
        parts = []
        for sample in samples_of(request.prompt, rollout):
            place = request.first_position + sample.first
            own = replace(request, prompt=sample.prompt, first_position=place)
            parts.append(self._checked(own, [(number, sample.rollout)])[number])
        return Checked.joined(parts)

    def _checked(self, request: Request, claims: list[tuple[int, Rollout]]) -> dict[int, Checked]:
        for number, rollout in claims:
            self._require(request, number, rollout)
        found: dict[int, Checked] = {}
        for batch in self._batches(request, claims):
            for (number, _), each in zip(batch, self._read(request, batch), strict=True):
                found[number] = each
        return found

    def _require(self, request: Request, number: int, rollout: Rollout) -> None:
        tokens, config = rollout.tokens, self._decoder.config
        longest = config.max_position_embeddings
        sound = (
            request.adapter is None
            and 0 <= number < 2**32
            and len(tokens) == len(rollout.logprobs)
            and len(tokens) == len(tokens if rollout.sampled is None else rollout.sampled)
            and 1 <= len(tokens) <= longest - len(request.prompt) + 1
            and all(0 <= each < config.vocab_size for each in (*request.prompt, *tokens))
            and all(map(math.isfinite, rollout.logprobs))
            and (rollout.sampled is not None or len(tokens) <= request.max_new_tokens)
        )
        if not sound:
            raise BadClaim(
                f"request {request.key!r:.80}: rollout {number} has {len(tokens)} tokens and {len(rollout.logprobs)} "
                f"log-probabilities; expected as many finite ones of both, 1 to {request.max_new_tokens}, of "
                f"{config.vocab_size} tokens, at most {longest} with the prompt, and no adapter"
            )

    def _batches(
        self, request: Request, claims: Sequence[tuple[int, Rollout]]
    ) -> Iterator[list[tuple[int, Rollout]]]:
        batch: list[tuple[int, Rollout]] = []
        for claim in sorted(claims, key=lambda each: -len(each[1].tokens)):
            width = len(request.prompt) + len((batch or [claim])[0][1].tokens)
            if batch and (len(batch) + 1) * width > self._most:
                yield batch
                batch = []
            batch.append(claim)
        if batch:
            yield batch

    def _read(self, request: Request, batch: list[tuple[int, Rollout]]) -> Iterator[Checked]:
        prompt, device = request.prompt, self._decoder.output_weight.device
        lines = [(*prompt, *rollout.tokens[:-1]) for _, rollout in batch]
        width = max(map(len, lines))
        # Padding stands at the end of a row, where no real token looks.
        padded = torch.tensor([[*line, *[0] * (width - len(line))] for line in lines])
        positions = torch.arange(width).expand(padded.shape)
        hidden = self._decoder(padded.to(device), positions.to(device), causal_attention)
        for row, (number, rollout) in enumerate(batch):
            own = hidden[row, len(prompt) - 1 : len(prompt) - 1 + len(rollout.tokens)]
            yield self._compare(request, number, rollout, own)

    def _compare(self, request: Request, number: int, rollout: Rollout, hidden: Tensor) -> Checked:
        first, num = request.first_position, len(rollout.tokens)
        noise = uniforms(
            np.array([request.seed], np.uint64), np.array([number], np.uint64), first + num
        )[0, first:]
        size = max(1, MAX_LOGITS // self._decoder.config.vocab_size)
        parts = []
        for start in range(0, num, size):
            own = slice(start, start + size)
            logits = self._decoder.logits(hidden[own])
            tokens = torch.tensor(rollout.tokens[own]).to(logits.device)
            parts.append(_scored(logits, tokens, noise[own], request))
        excess, peaks, logprobs, slopes = (
            np.concatenate(each) for each in zip(*parts, strict=True)
        )
        asked = np.array(list(rollout.sampled or bytes([SAMPLED]) * num)) == SAMPLED
        claimed = np.maximum(np.array(rollout.logprobs), LEAST)
        patterns = hidden.to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy()
        return Checked(
            excess[asked],
            peaks[asked],
            (claimed - logprobs)[asked],
            slopes[asked],
            patterns.view(np.uint16),
        )


def _scored(
    logits_NV: Tensor, tokens_N: Tensor, noise_N: NDArray[np.float64], request: Request
) -> tuple[NDArray[np.float64], ...]:
    """Excess, peak, log-probability and its slope of each token, by the distribution that was asked for."""
    if request.temperature > 0:
        logits_NV = logits_NV / request.temperature
    if request.allowed is not None:
        logits_NV = AllowedRows((request.allowed,), None).leave(logits_NV)
    if request.cut is not None:
        logits_NV = CutRows.alike(request.cut, logits_NV.device).cut(logits_NV)
    chances_NV = torch.softmax(logits_NV, dim=-1, dtype=torch.float32)
    own_N1 = tokens_N.unsqueeze(1)
    chance_N = chances_NV.gather(1, own_N1).squeeze(1).double().cpu()
    peaks_N = chances_NV.amax(-1).double().cpu()
    if request.temperature == 0:
        excess_N = peaks_N - chance_N
    else:
        sums_NV = running_sums(chances_NV)
        total_N = sums_NV[:, -1].cpu()
        above_N = sums_NV.gather(1, own_N1.to(sums_NV.device)).squeeze(1).cpu() / total_N
        noise = torch.from_numpy(np.ascontiguousarray(noise_N))
        below_N = above_N - chance_N / total_N
        excess_N = torch.maximum(below_N - noise, noise - above_N).clamp(min=0)
    logprobs_N = chance_N.clamp(min=math.exp(LEAST)).log()
    slopes_N = _slopes(logits_NV, chances_NV, own_N1) if request.temperature > 0 else chance_N * 0
    return excess_N.numpy(), peaks_N.numpy(), logprobs_N.numpy(), slopes_N.numpy()


def _slopes(logits_NV: Tensor, chances_NV: Tensor, own_N1: Tensor) -> Tensor:
    """Derivative of a token's log-probability by the logarithm of the temperature: E[z] - z; 0 of what has no chance."""
    left_NV = torch.where(chances_NV > 0, logits_NV.float(), 0.0)
    own_N = left_NV.gather(1, own_N1).squeeze(1)
    slopes_N = (chances_NV * left_NV).sum(-1) - own_N
    return torch.where(chances_NV.gather(1, own_N1).squeeze(1) > 0, slopes_N, 0.0).double().cpu()
