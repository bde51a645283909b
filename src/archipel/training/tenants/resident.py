"""The base model that all tenants share: its frozen products, and one pass over rows of several tenants.

Law: as in `rows`; each sequence attends to itself alone, in a call of its own. The values are bf16's, kept in fp32.
"""
# ruff: noqa: N815 - shape suffixes

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from archipel.model.manifest import WrongTensors
from archipel.model.network import Attention, Decoder, causal_attention
from archipel.training.tenants.head import Head
from archipel.training.tenants.rows import Company, SharedLinear, Span

LEAST_ROWS = 16
"""Fewer are filled up: some operators take another way for a row or two."""


@dataclass(frozen=True)
class Pass:
    """Sequences one after another, whoever they are of."""

    tokens_N: Tensor
    """int64."""
    targets_N: Tensor
    """int64."""
    lengths: tuple[int, ...]
    """Of the sequences, in order; they cover all rows but those that fill up."""
    spans: tuple[Span, ...]
    """Whose rows: each covers whole sequences."""


class Resident:
    """A decoder's frozen weights, laid out for products with rows of several tenants."""

    def __init__(self, decoder: Decoder) -> None:
        """decoder: taken over, as what every tenant's adapter lies over; its weights become bf16 values.

        Raises:
            WrongTensors: it has experts.
        """
        if decoder.config.experts is not None:
            raise WrongTensors(
                f"{decoder.config.family} sends tokens to experts, whose rows cannot be kept apart yet; choose a "
                "dense model"
            )
        self.config, self._company, self._decoder = decoder.config, Company(), decoder
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter.requires_grad_(False)
                parameter.copy_(parameter.to(torch.bfloat16))
        self._head = Head(decoder)
        for name, layer in list(decoder.model.layers.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, own = name.rpartition(".")
                shared = SharedLinear(f"model.layers.{name}", layer, self._company)
                setattr(decoder.model.layers.get_submodule(parent), own, shared)
        if not decoder.config.tie_embeddings:
            del decoder.lm_head

    def scored(self, asked: Pass) -> tuple[Tensor, Tensor]:
        """Hidden states (N, d), with a way back if any span learns, and nats of every target (N,)."""
        learns = any(
            product.low_gradient is not None
            for span in asked.spans
            for product in span.products.values()
        )
        self._company.spans, self._company.learns = asked.spans, learns
        hidden_Nd = self._hidden(asked, learns=learns)
        logprobs_N = self._head.logprobs(hidden_Nd.detach(), asked.targets_N, asked.spans)
        return hidden_Nd, logprobs_N

    def learn(self, asked: Pass, hidden_Nd: Tensor, slope_N: Tensor) -> None:
        """Add each span's gradient where it goes; slope_N: the losses' by each log-probability."""
        by_hidden_Nd = self._head.back(hidden_Nd.detach(), asked.targets_N, slope_N, asked.spans)
        hidden_Nd.backward(by_hidden_Nd)

    def _hidden(self, asked: Pass, *, learns: bool) -> Tensor:
        count = asked.tokens_N.shape[0]
        filling = max(0, LEAST_ROWS - count)
        lengths = (*asked.lengths, filling) if filling else asked.lengths
        tokens_N = F.pad(asked.tokens_N, (0, filling))
        positions_N = torch.cat([torch.arange(length) for length in lengths])
        model, attention = self._decoder.model, attending(lengths)
        with torch.set_grad_enabled(learns), EvenSilu():
            x = model.embed_tokens(tokens_N.unsqueeze(0))
            if model.multiplier != 1.0:
                x = x * model.multiplier
            x = x.requires_grad_(learns)
            cos, sin = model.rotary.at(positions_N.unsqueeze(0))
            for layer in model.layers:
                x = layer(x, cos, sin, attention, None)
            hidden: Tensor = model.norm(x).squeeze(0)[:count]
        return hidden


class EvenSilu(TorchFunctionMode):
    """Inside this context `F.silu` is one whose bits are the same in every place of a tensor.

    torch's own computes what is left at a tensor's end with another exponential than its vectors.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (F.silu, torch._C._nn.silu):
            return _Silu.apply(args[0])
        return func(*args, **(kwargs or {}))


class _Silu(torch.autograd.Function):
    """y = x / (1 + exp(-x))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x / torch.exp(-x).add_(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        sigmoid = torch.exp(-x).add_(1).reciprocal_()
        return gradients[0] * sigmoid * ((1 - sigmoid) * x + 1)


def attending(lengths: Sequence[int]) -> Attention:
    """Each of several sequences that follow each other in one row attends to itself, in a call of its own."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(each.split(tuple(lengths), dim=2) for each in (q, k, v)), strict=True)
        mixed = [causal_attention(layer, *(_Apart.apply(each) for each in part)) for part in parts]
        return torch.cat([_Apart.apply(each) for each in mixed], dim=2)

    return attend


class _Apart(torch.autograd.Function):
    """A tensor, and on the way back its gradient, in memory of its own.

    Products over a part of a larger tensor may round by where in memory that part begins.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clone(memory_format=torch.contiguous_format)
