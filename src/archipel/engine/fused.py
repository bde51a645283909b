"""The engine's own copy of the network: same function as `model.network`, laid out for decoding.

What differs from `Decoder`: query, key and value are one product, queries and keys are normed and
rotated together, SwiGLU (`feeding`) and residual sums are epilogues of products, and rows are flat. The tests
hold its log-probabilities against `Decoder`.
Law: rows are independent; nothing here knows about sequences, slots or requests, nor how numbers are
multiplied: that is the arithmetic's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import Adapters, Company
from archipel.engine.arithmetic import Arithmetic, Gated, Product, as_dtype
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.feeding import Feed, FusedExperts, Note, feeding
from archipel.engine.fingerprints import Seen
from archipel.engine.passing import Attend
from archipel.engine.protocol import WrongWeights
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes


@dataclass(frozen=True)
class FusedLayer:
    """Weights of one layer, as the decode step wants them."""

    qkv: Product
    out: Product
    feed: Feed
    attention_norm: Tensor
    """fp32; before attention, or after it in OLMo 2."""
    feed_forward_norm: Tensor
    qk_norm: Tensor
    """fp32, (Hq + Hkv, D): query and key norm weights, per head or over all; empty without."""


def held_by(state: Mapping[str, Tensor], numbers: Arithmetic) -> Callable[[str], Tensor]:
    """The weights by name, as the arithmetic wants them."""

    def weight(name: str) -> Tensor:
        return state[name].detach().to(device=numbers.device, dtype=numbers.dtype)

    return weight


class FusedEnds:
    """What lies before the first layer and behind the last."""

    def __init__(
        self, config: DecoderConfig, state: Mapping[str, Tensor], arithmetic: Arithmetic
    ) -> None:
        self.config = config
        self.arithmetic = arithmetic
        self.adapters = Adapters(arithmetic)
        weight = held_by(state, arithmetic)
        embedding = state["model.embed_tokens.weight"].detach()
        embedding = embedding.to(arithmetic.device, arithmetic.embedding_dtype)
        self._embedding = embedding.contiguous()
        head = "model.embed_tokens" if config.tie_embeddings else "lm_head"
        self._head = arithmetic.projection(weight(f"{head}.weight"))
        self._norm = weight("model.norm.weight").float()

    def embedded(self, tokens_N: Tensor) -> Tensor:
        """Residual stream (N, d) before the first layer."""
        x = as_dtype(self._embedding.index_select(0, tokens_N), self.arithmetic.dtype)
        factor = self.config.embedding_multiplier
        return x if factor == 1.0 else x * factor

    @np.errstate(all="ignore")
    def read(self, x_Nd: Tensor) -> Tensor:
        """The last hidden state (N, d) fp32 from the residual stream: after the final norm."""
        return as_dtype(self.arithmetic.normed(x_Nd, self._norm), torch.float32)

    @np.errstate(all="ignore")
    def logits(
        self, x_Nd: Tensor, seen: Seen | None = None, company: Company | None = None
    ) -> Tensor:
        """(N, vocab_size) from the residual stream, in the engine's dtype; `seen` is shown the last hidden state.

        company: which adapter each row has; None: this decoder has no adapters.
        """
        fed = self.arithmetic.fed(x_Nd, self._norm)
        if seen is not None:
            seen(fed)
        head = self._head if company is None else company.around_head(self._head)
        logits = head(fed)
        return logits if self.config.logits_scaling == 1.0 else logits / self.config.logits_scaling


class FusedLayers:
    """Some layers after one another."""

    def __init__(
        self,
        config: DecoderConfig,
        state: Mapping[str, Tensor],
        arithmetic: Arithmetic,
        layers: range,
    ) -> None:
        """state: whatever else it holds, the weights of these layers."""
        self.config = config
        self.arithmetic = arithmetic
        self._norm_first = config.norm_placement == "pre"
        self._first = layers.start
        weight = held_by(state, arithmetic)
        self._layers = [_fuse(config, i, weight, arithmetic) for i in layers]

    @property
    def num_layers(self) -> int:
        """That are here."""
        return len(self._layers)

    @np.errstate(all="ignore")  # what broken weights give is refused where it is sampled
    def through(
        self,
        x: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """Residual stream (N, d) after these layers, from that before them; see `FusedDecoder.forward`."""
        numbers, config = self.arithmetic, self.config
        last, rows = len(self._layers) - 1, None
        for place, own in enumerate(self._layers):
            index = self._first + place
            layer = _beside(own, index, company)
            h = numbers.fed(x, layer.attention_norm if self._norm_first else None)
            turns = None if index in config.unrotated else rotations_N2D
            heads = queries_keys_values(numbers, layer.qk_norm, layer.qkv(h), turns)
            mixed = attend(place, *heads)
            if wanted is not None and place == last:
                mixed, x = mixed.index_select(0, wanted), x.index_select(0, wanted)
                layer = _beside(own, index, None if company is None else company.at(wanted))
                rows = wanted
            x = self._attended(layer, mixed, x)
            x = self._fed(layer, index, x, rows, note)
        return x

    def _attended(self, layer: FusedLayer, mixed: Tensor, x: Tensor) -> Tensor:
        if not self._norm_first:
            return x + self.arithmetic.normed(layer.out(mixed), layer.attention_norm)
        factor = self.config.residual_multiplier
        return layer.out.plus(mixed, x) if factor == 1.0 else x + layer.out(mixed) * factor

    def _fed(
        self, layer: FusedLayer, index: int, x: Tensor, rows: Tensor | None, note: Note | None
    ) -> Tensor:
        numbers, factor = self.arithmetic, self.config.residual_multiplier
        norm = layer.feed_forward_norm if self._norm_first else None
        if isinstance(layer.feed, FusedExperts):
            # Experts pick their rows, and the router wants them as they are.
            h = x if norm is None else numbers.normed(x, norm)
            fed = layer.feed(index, h, rows, note)
        elif self._norm_first and factor == 1.0:
            return layer.feed.plus(numbers.fed(x, norm), x)
        else:
            fed = layer.feed(numbers.fed(x, norm))
        if not self._norm_first:
            return x + numbers.normed(fed, layer.feed_forward_norm)
        return x + fed if factor == 1.0 else x + fed * factor


class FusedDecoder(FusedEnds, FusedLayers):
    """A decoder over flat rows of tokens."""

    def __init__(
        self, config: DecoderConfig, state: Mapping[str, Tensor], arithmetic: Arithmetic
    ) -> None:
        check_state(config, state)
        arithmetic.check_weights(state)
        FusedEnds.__init__(self, config, state, arithmetic)
        FusedLayers.__init__(self, config, state, arithmetic, range(config.num_layers))

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """Residual stream (N, d) after the last layer, before the final norm.

        rotations_N2D: rows of the arithmetic's `rotations`, at each row's position; one if all share it.
        With `wanted`, only those rows are computed after the last attention, and returned.
        company: which adapter each row has; None: this decoder has no adapters.
        note: is told which experts were chosen, where there are some.
        """
        return self.through(self.embedded(tokens_N), rotations_N2D, attend, wanted, company, note)

    def new_cache(self, shape: CacheShape) -> Cache:
        """Of all layers."""
        return Cache(shape, self.arithmetic.device)


def _beside(layer: FusedLayer, index: int, company: Company | None) -> FusedLayer:
    """The layer with what the rows' adapters add to its products."""
    if company is None:
        return layer

    def around(name: str, own: Product) -> Gated:
        return company.around(index, name, own)

    feed = layer.feed
    if not isinstance(feed, FusedExperts):
        feed = feed.beside(around)
    return replace(layer, qkv=around("qkv", layer.qkv), out=around("out", layer.out), feed=feed)


def queries_keys_values(
    numbers: Arithmetic, qk_norm: Tensor, projected: Tensor, rotations_N2D: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Heads (N, H, D) of what `qkv` gave; queries and keys are normed with `qk_norm` and turned.

    rotations_N2D: None where a layer knows no positions.
    """
    config, heads = numbers.config, numbers.config.num_heads
    parts = projected.view(projected.shape[0], -1, config.head_dim)
    turned = heads + config.num_kv_heads
    qk, v = parts.narrow(1, 0, turned), parts.narrow(1, turned, config.num_kv_heads)
    qk = as_dtype(qk, torch.float32)
    if config.qk_norm == "head":
        qk = qk * numbers.scales(qk) * qk_norm
    elif config.qk_norm == "full":
        both = (qk[:, :heads].flatten(1), qk[:, heads:].flatten(1))
        normed = [
            (part * numbers.scales(part)).unflatten(1, (-1, config.head_dim)) for part in both
        ]
        qk = torch.cat(normed, dim=1) * qk_norm
    if rotations_N2D is not None:
        qk = numbers.rotated(qk, rotations_N2D)
    qk = as_dtype(qk, numbers.dtype)
    return qk.narrow(1, 0, heads), qk.narrow(1, heads, config.num_kv_heads), v


def check_state(config: DecoderConfig, state: Mapping[str, Tensor]) -> None:
    """Refuse a state whose names or shapes are not those of the architecture.

    Raises:
        WrongWeights: names the first few missing, unknown or misshapen tensors.
    """
    expected = expected_shapes(config)
    faults = [f"{name} is missing" for name in expected if name not in state]
    faults += [f"{name} is unknown" for name in state if name not in expected]
    faults += [
        f"{name} has shape {tuple(state[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WrongWeights(
            f"weights do not fit the architecture: {'; '.join(faults[:3])}{more}; "
            "load a state of the same model"
        )


def _fuse(
    config: DecoderConfig, index: int, weight: Callable[[str], Tensor], numbers: Arithmetic
) -> FusedLayer:
    layer, attention = f"model.layers.{index}.", f"model.layers.{index}.self_attn."

    def joined(kind: str) -> Tensor:
        if config.traits.joined:
            return weight(f"{attention}qkv_proj.{kind}")
        return torch.cat([weight(f"{attention}{part}_proj.{kind}") for part in "qkv"])

    first, second = (
        ("input_layernorm", "post_attention_layernorm")
        if config.norm_placement == "pre"
        else ("post_attention_layernorm", "post_feedforward_layernorm")
    )
    return FusedLayer(
        qkv=numbers.projection(joined("weight"), joined("bias") if config.qkv_bias else None),
        out=numbers.projection(weight(f"{attention}o_proj.weight")),
        feed=feeding(config, layer, weight, numbers),
        attention_norm=weight(f"{layer}{first}.weight").float(),
        feed_forward_norm=weight(f"{layer}{second}.weight").float(),
        qk_norm=qk_norm_of(config, index, weight),
    )


def qk_norm_of(config: DecoderConfig, index: int, weight: Callable[[str], Tensor]) -> Tensor:
    """See `FusedLayer.qk_norm`."""
    if config.qk_norm == "none":
        return torch.empty(0)
    heads = (config.num_heads, config.num_kv_heads)
    parts = []
    for part, count in zip("qk", heads, strict=True):
        norm = weight(f"model.layers.{index}.self_attn.{part}_norm.weight").float()
        parts.append(norm.view(-1, config.head_dim).expand(count, config.head_dim))
    return torch.cat(parts)
