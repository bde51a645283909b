"""The engine's own copy of the network: same function as `model.network`, laid out for decoding.

What differs from `Decoder`: query, key and value are one product, queries and keys are normed and
rotated together, SwiGLU and residual sums are epilogues of products, and rows are flat. The tests
hold its log-probabilities against `Decoder`.
Law: rows are independent; nothing here knows about sequences, slots or requests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.engine.projection import Projection
from archipel.engine.protocol import WrongWeights
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes
from archipel.model.rotary import RotaryTable

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q (N, Hq, D), k (N, Hkv, D), v (N, Hkv, D)) -> mixed values (N, Hq * D).

The arguments are views, not contiguous."""


@dataclass(frozen=True)
class FusedLayer:
    """Weights of one layer, as the decode step wants them."""

    qkv: Projection
    out: Projection
    gate: Projection
    up: Projection
    down: Projection
    attention_norm: Tensor
    """fp32; before attention, or after it in OLMo 2."""
    feed_forward_norm: Tensor
    qk_norm: Tensor
    """fp32, (Hq + Hkv, D): query and key norm weights, per head or over all; empty without."""


class FusedDecoder:
    """A decoder over flat rows of tokens."""

    def __init__(
        self,
        config: DecoderConfig,
        state: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        check_state(config, state)
        self.config = config
        self.dtype = dtype
        self._epsilon = torch.tensor(config.norm_epsilon, device=device)

        def weight(name: str) -> Tensor:
            return state[name].detach().to(device=device, dtype=dtype)

        self._embedding = weight("model.embed_tokens.weight").contiguous()
        head = "model.embed_tokens" if config.tie_embeddings else "lm_head"
        self._head = Projection(weight(f"{head}.weight"))
        self._norm = weight("model.norm.weight").float()
        self._layers = [_fuse(config, i, weight) for i in range(config.num_layers)]

    def rotations(self, length: int) -> Tensor:
        """Rotary table (length, 2, D): cosines and signed sines of positions 0 .. length-1."""
        positions = torch.arange(length, device=self._embedding.device)
        # The cache may be rounded up beyond the model's last position; nothing real lies there.
        positions = positions.clamp_(max=self.config.max_position_embeddings - 1).unsqueeze(0)
        return torch.stack([table[0, 0] for table in RotaryTable(self.config).at(positions)], dim=1)

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Residual stream (N, d) after the last layer, before the final norm.

        rotations_N2D: the rows of `rotations` at each row's position; one row if all share it.
        With `wanted`, only those rows are computed after the last attention, and returned.
        """
        x = self._embedding.index_select(0, tokens_N)
        rotation = _Rotation(rotations_N2D)
        pre, last = self.config.norm_placement == "pre", len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            h = self._normed(x, layer.attention_norm) if pre else x
            mixed = attend(index, *self._queries_keys_values(layer, h, rotation))
            if wanted is not None and index == last:
                mixed, x = mixed.index_select(0, wanted), x.index_select(0, wanted)
            if pre:
                x = layer.out.plus(mixed, x)
                h = self._normed(x, layer.feed_forward_norm)
                x = layer.down.plus(layer.up.times(h, layer.gate.silu(h)), x)
            else:
                x = x + self._normed(layer.out(mixed), layer.attention_norm)
                fed = layer.down(layer.up.times(x, layer.gate.silu(x)))
                x = x + self._normed(fed, layer.feed_forward_norm)
        return x

    def logits(self, x_Nd: Tensor) -> Tensor:
        """(N, vocab_size) from the residual stream, in the engine's dtype."""
        return self._head(self._normed(x_Nd, self._norm))

    def _queries_keys_values(
        self, layer: FusedLayer, x: Tensor, rotation: "_Rotation"
    ) -> tuple[Tensor, Tensor, Tensor]:
        config, heads = self.config, self.config.num_heads
        parts = layer.qkv(x).view(x.shape[0], -1, config.head_dim)
        turned = heads + config.num_kv_heads
        qk, v = parts.narrow(1, 0, turned), parts.narrow(1, turned, config.num_kv_heads)
        qk = _as(qk, torch.float32)
        if config.qk_norm == "head":
            qk = qk * self._scales(qk) * layer.qk_norm
        elif config.qk_norm == "full":
            both = (qk[:, :heads].flatten(1), qk[:, heads:].flatten(1))
            normed = [
                (part * self._scales(part)).unflatten(1, (-1, config.head_dim)) for part in both
            ]
            qk = torch.cat(normed, dim=1) * layer.qk_norm
        qk = _as(rotation.of(qk), self.dtype)
        return qk.narrow(1, 0, heads), qk.narrow(1, heads, config.num_kv_heads), v

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return _as(x * self._scales(x) * weight, self.dtype)

    def _scales(self, x: Tensor) -> Tensor:
        """1 / rms over the last dimension, fp32; fewer passes than `F.rms_norm` on a CPU."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return torch.addcmul(self._epsilon, norm, norm, value=1 / x.shape[-1]).rsqrt_()


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x.to(dtype)` without the cost of a call that changes nothing."""
    return x if x.dtype == dtype else x.to(dtype)


class _Rotation:
    """As `model.rotary.rotate`, without joining the swapped halves.

    One complex product would be faster, but torch rounds its vector lanes and its scalar tail
    differently, so a row's value would depend on where the row lies.
    """

    def __init__(self, rotations_N2D: Tensor) -> None:
        self._cos_N1D = rotations_N2D[:, :1]
        self._first, self._second = rotations_N2D[:, 1:].chunk(2, dim=-1)

    def of(self, x_NHD: Tensor) -> Tensor:
        rotated = x_NHD * self._cos_N1D
        first, second = x_NHD.chunk(2, dim=-1)
        rotated_first, rotated_second = rotated.chunk(2, dim=-1)
        rotated_first.addcmul_(second, self._first)
        rotated_second.addcmul_(first, self._second)
        return rotated


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


def _fuse(config: DecoderConfig, index: int, weight: Callable[[str], Tensor]) -> FusedLayer:
    layer, attention = f"model.layers.{index}.", f"model.layers.{index}.self_attn."

    def joined(kind: str) -> Tensor:
        return torch.cat([weight(f"{attention}{part}_proj.{kind}") for part in "qkv"])

    def qk_norm() -> Tensor:
        heads = (config.num_heads, config.num_kv_heads)
        norms = [weight(f"{attention}{part}_norm.weight").float() for part in "qk"]
        parts = [
            norm.view(-1, config.head_dim).expand(count, config.head_dim)
            for norm, count in zip(norms, heads, strict=True)
        ]
        return torch.cat(parts)

    first, second = (
        ("input_layernorm", "post_attention_layernorm")
        if config.norm_placement == "pre"
        else ("post_attention_layernorm", "post_feedforward_layernorm")
    )
    return FusedLayer(
        qkv=Projection(joined("weight"), joined("bias") if config.qkv_bias else None),
        out=Projection(weight(f"{attention}o_proj.weight")),
        gate=Projection(weight(f"{layer}mlp.gate_proj.weight")),
        up=Projection(weight(f"{layer}mlp.up_proj.weight")),
        down=Projection(weight(f"{layer}mlp.down_proj.weight")),
        attention_norm=weight(f"{layer}{first}.weight").float(),
        feed_forward_norm=weight(f"{layer}{second}.weight").float(),
        qk_norm=torch.empty(0) if config.qk_norm == "none" else qk_norm(),
    )
