"""The last product of a pass: hidden states into log-probabilities of given tokens, and back.

Law: as in `rows`. The vocabulary is taken some rows at a time; where those rows end hangs, inside a tenant's own,
on them alone, so that the gradient of a product beside the head is added up in one order in any company.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from archipel.model.network import Decoder
from archipel.records.adapter import HEAD
from archipel.training.tenants.rows import Base, Span, add_gradients, add_product

MAX_LOGITS = 2**23
"""Logits in memory at a time, 32 MiB."""


@dataclass(frozen=True)
class Chunk:
    """Some rows that are taken at a time, and the parts of spans in it, counted from its own first row."""

    start: int
    stop: int
    spans: tuple[Span, ...]


def chunks_of(spans: Sequence[Span], most: int) -> Iterator[Chunk]:
    """Rows of all spans, in order: short spans together, long ones in parts of `most` rows each."""
    together: list[Span] = []
    for span in spans:
        if together and span.stop - together[0].start > most:
            yield _chunk(together)
            together = []
        if span.stop - span.start <= most:
            together.append(span)
            continue
        for start in range(span.start, span.stop, most):
            yield _chunk([replace(span, start=start, stop=min(start + most, span.stop))])
    if together:
        yield _chunk(together)


def _chunk(spans: Sequence[Span]) -> Chunk:
    first = spans[0].start
    own = tuple(replace(each, start=each.start - first, stop=each.stop - first) for each in spans)
    return Chunk(first, spans[-1].stop, own)


class Head:
    """The resident output weight, and what tenants have beside it."""

    def __init__(self, decoder: Decoder) -> None:
        weight = decoder.output_weight.detach()
        self._ahead, self._back = Base(weight), Base(weight.t())
        self._scaling = decoder.config.logits_scaling
        self._most = max(1, MAX_LOGITS // weight.shape[0])

    @torch.no_grad()
    def logprobs(self, hidden_Nd: Tensor, targets_N: Tensor, spans: Sequence[Span]) -> Tensor:
        """Nats of each target, fp32 (N,); rows of no span give 0."""
        found_N = torch.zeros(hidden_Nd.shape[0])
        for chunk in chunks_of(spans, self._most):
            logits_CV = self._logits(hidden_Nd[chunk.start : chunk.stop], chunk)
            targets_C1 = targets_N[chunk.start : chunk.stop].unsqueeze(1)
            picked_C = logits_CV.gather(1, targets_C1).squeeze(1)
            found_N[chunk.start : chunk.stop] = picked_C - logits_CV.logsumexp(-1)
        return found_N

    @torch.no_grad()
    def back(
        self, hidden_Nd: Tensor, targets_N: Tensor, slope_N: Tensor, spans: Sequence[Span]
    ) -> Tensor:
        """The gradient by hidden states (N, d), given the loss's by each log-probability."""
        found_Nd = torch.zeros_like(hidden_Nd)
        for chunk in chunks_of(spans, self._most):
            part = slice(chunk.start, chunk.stop)
            hidden_Cd = hidden_Nd[part].contiguous()
            logits_CV = self._logits(hidden_Cd, chunk)
            slope_C1 = slope_N[part].unsqueeze(1)
            by_logits_CV = logits_CV.softmax(-1).mul_(-slope_C1)
            by_logits_CV.scatter_add_(1, targets_N[part].unsqueeze(1), slope_C1)
            if self._scaling != 1.0:
                by_logits_CV.div_(self._scaling)
            by_hidden_Cd = self._back(by_logits_CV)
            for span in chunk.spans:
                add_gradients(by_hidden_Cd, by_logits_CV, hidden_Cd, span, HEAD)
            found_Nd[part] = by_hidden_Cd
        return found_Nd

    def _logits(self, hidden_Cd: Tensor, chunk: Chunk) -> Tensor:
        hidden_Cd = hidden_Cd.contiguous()
        logits_CV = self._ahead(hidden_Cd)
        for span in chunk.spans:
            add_product(logits_CV, hidden_Cd, span, HEAD)
        return logits_CV if self._scaling == 1.0 else logits_CV.div_(self._scaling)
