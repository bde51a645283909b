"""The decoder: one definition for all families of `model.families`.

Parts: `Decoder` and its blocks (mixtures of experts are in `model.experts`); `causal_attention` and `packed_attention` for whole sequences.
Attention over keys and values is an argument, so that training, verification and sampling (with
its cache) run the very same network and their log-probabilities agree. So is `routing`, by which experts are chosen.
Law: parameter names are the Hugging Face names; norms, rotary and softmax compute in fp32.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archipel.model.config import DecoderConfig
from archipel.model.experts import FeedForward, JoinedFeedForward, MixtureOfExperts, Routing
from archipel.model.rotary import RotaryTable, rotate

INITIAL_STD = 0.02
"""Standard deviation of freshly drawn weights, as the families use."""
MAX_PLAIN_LENGTH = 512
"""Up to this many positions, 16-bit attention on a CPU keeps its (T, T) scores."""


class Attention(Protocol):
    """How queries meet keys and values; the caller decides what was cached."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with q (B, Hq, T, D), k and v (B, Hkv, T, D), after QK norm and rotary.

        Returns (B, Hq, T, D). Scores are scaled by 1/sqrt(D); the softmax is fp32.
        """


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467), fp32 inside, result in the input's dtype."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.epsilon).to(
            x.dtype
        )


class SelfAttention(nn.Module):
    """Projections, QK norm and rotary around the attention that the caller passes in."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        hidden, q_size = config.hidden_size, config.num_heads * config.head_dim
        kv_size = config.num_kv_heads * config.head_dim
        self.sizes = (q_size, kv_size, kv_size)
        self.joined = config.traits.joined
        if self.joined:
            self.qkv_proj = nn.Linear(hidden, sum(self.sizes), bias=False)
        else:
            self.q_proj = nn.Linear(hidden, q_size, bias=config.qkv_bias)
            self.k_proj = nn.Linear(hidden, kv_size, bias=config.qkv_bias)
            self.v_proj = nn.Linear(hidden, kv_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(q_size, hidden, bias=False)
        self.is_rotated = layer not in config.unrotated
        # The attention that is passed in scales by 1/sqrt(D); what is missing of another scale goes into q.
        self.q_factor = config.attention_scale * config.head_dim**0.5
        self.qk_norm = config.qk_norm
        if self.qk_norm != "none":
            per_head = self.qk_norm == "head"
            self.q_norm = RMSNorm(config.head_dim if per_head else q_size, config.norm_epsilon)
            self.k_norm = RMSNorm(config.head_dim if per_head else kv_size, config.norm_epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        if self.joined:
            q, k, v = self.qkv_proj(x).split(self.sizes, dim=-1)
        else:
            q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.qk_norm == "full":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (self._heads(part) for part in (q, k, v))
        if self.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        if self.is_rotated:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.q_factor != 1.0:
            q = q * self.q_factor
        mixed = attention(self.layer, q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, H * D) -> (B, H, T, D)."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class Layer(nn.Module):
    """Attention and feed-forward, each on its own residual branch."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config, layer)
        name = config.traits.experts if config.traits.has_experts else "mlp"
        self.add_module(name, _feed_forward(config, layer))
        self.feed_forward_name = name
        self.norm_first = config.norm_placement == "pre"
        self.multiplier = config.residual_multiplier
        size, epsilon = config.hidden_size, config.norm_epsilon
        self.post_attention_layernorm = RMSNorm(size, epsilon)
        if self.norm_first:
            self.input_layernorm = RMSNorm(size, epsilon)
        else:
            self.post_feedforward_layernorm = RMSNorm(size, epsilon)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, routing: Routing | None
    ) -> Tensor:
        if self.norm_first:
            x = x + self._scaled(self.self_attn(self.input_layernorm(x), cos, sin, attention))
            return x + self._scaled(self._fed(self.post_attention_layernorm(x), routing))
        x = x + self.post_attention_layernorm(self.self_attn(x, cos, sin, attention))
        return x + self.post_feedforward_layernorm(self._fed(x, routing))

    def _fed(self, x: Tensor, routing: Routing | None) -> Tensor:
        block = getattr(self, self.feed_forward_name)
        fed: Tensor = block(x, routing) if isinstance(block, MixtureOfExperts) else block(x)
        return fed

    def _scaled(self, added: Tensor) -> Tensor:
        return added if self.multiplier == 1.0 else added * self.multiplier


def _feed_forward(config: DecoderConfig, layer: int) -> nn.Module:
    if config.experts is not None:
        return MixtureOfExperts(config.experts, config.family, config.hidden_size, layer)
    make = JoinedFeedForward if config.traits.joined else FeedForward
    return make(config.hidden_size, config.intermediate_size)


class Backbone(nn.Module):
    """Embedding, layers and final norm: what the Hugging Face layout calls `model`."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.multiplier = config.embedding_multiplier
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_epsilon)
        self.rotary = RotaryTable(config)

    def forward(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        attention: Attention,
        routing: Routing | None = None,
    ) -> Tensor:
        x = self.embed_tokens(tokens_BT)
        if self.multiplier != 1.0:
            x = x * self.multiplier
        cos, sin = self.rotary.at(positions_BT)
        for layer in self.layers:
            x = layer(x, cos, sin, attention, routing)
        return self.norm(x)


class Decoder(nn.Module):
    """A causal language model. `state_dict()` has the Hugging Face keys; a tied head has none."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        attention: Attention,
        routing: Routing | None = None,
    ) -> Tensor:
        """Hidden states (B, T, d) after the final norm, in the weights' dtype.

        tokens_BT and positions_BT are int64; positions lie in [0, max_position_embeddings).
        routing: chooses experts where there are some; None: those that the router likes best.
        """
        return self.model(tokens_BT, positions_BT, attention, routing)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., d) -> (..., vocab_size) fp32; the product itself is in the weights' dtype."""
        logits = F.linear(hidden, self.output_weight).float()
        return logits if self.config.logits_scaling == 1.0 else logits / self.config.logits_scaling

    @property
    def output_weight(self) -> Tensor:
        """(vocab_size, d): the head's own weight, or the embedding when tied."""
        return (self.model.embed_tokens if self.config.tie_embeddings else self.lm_head).weight


def causal_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each position attends to itself and all before it in its own row; see `Attention`."""
    del layer
    length = q.shape[2]
    if _fused_is_better(q):
        return _fused_attention(q, k, v, None)
    return _plain_attention(q, k, v, _causal(length, q.device))


def packed_attention(segment_ids_BT: Tensor) -> Attention:
    """Causal attention inside each run of equal segment ids: several sequences in one row."""
    same_BTT = segment_ids_BT.unsqueeze(2) == segment_ids_BT.unsqueeze(1)
    allowed_BTT = same_BTT & _causal(segment_ids_BT.shape[1], same_BTT.device)
    return masked_attention(allowed_BTT.unsqueeze(1))


def masked_attention(allowed_B1TT: Tensor) -> Attention:
    """Each position (next to last) attends where it is true."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        if _fused_is_better(q):
            return _fused_attention(q, k, v, allowed_B1TT)
        return _plain_attention(q, k, v, allowed_B1TT.unsqueeze(2))

    return attend


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """By torch's kernels; causal where `allowed` is None.

    On a GPU those that take a mask or fp32 want a key head for every query head, and else all scores are kept.
    """
    fewer = q.shape[1] != k.shape[1]
    if fewer and q.is_cuda and (allowed is not None or q.dtype == torch.float32):
        times = q.shape[1] // k.shape[1]
        k, v, fewer = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1), False
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed, is_causal=allowed is None, enable_gqa=fewer
    )


def _fused_is_better(q: Tensor) -> bool:
    """False for short 16-bit rows on a CPU, where the fused backward costs several times two products."""
    return not q.is_cpu or q.dtype == torch.float32 or q.shape[2] > MAX_PLAIN_LENGTH


def _causal(length: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """Two products around an fp32 softmax; allowed broadcasts to (B, Hkv, Hq / Hkv, T, T).

    The queries that share a key head are folded into one product, so keys are never copied.
    """
    num_kv_heads, (length, size) = k.shape[1], q.shape[2:]
    folded = q.unflatten(1, (num_kv_heads, -1)).flatten(2, 3)
    scores = torch.matmul(folded * size**-0.5, k.transpose(-1, -2)).float()
    scores = scores.unflatten(2, (-1, length)).masked_fill(~allowed, float("-inf"))
    weights = scores.softmax(dim=-1).to(v.dtype).flatten(2, 3)
    return torch.matmul(weights, v).unflatten(2, (-1, length)).flatten(1, 2)


def random_weights(config: DecoderConfig, seed: int) -> Decoder:
    """A decoder in fp32 with weights that follow from `seed` alone: N(0, 0.02), norms 1, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(config)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, INITIAL_STD, generator=generator)
    return model
