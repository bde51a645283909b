"""A decoder with an adapter beside it, and the losses of tenants, in float64 from their formulas alone.

It shares no code with what it is compared with: weights come by their names, gradients from torch's own float64
operators, losses from NumPy-like sums over single places.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from archipel.model.config import DecoderConfig
from archipel.training.tenants.operations import Datum

Weights = Mapping[str, Tensor]


class Oracle:
    """Of Llama's form: norms first, rotated pairs (i, i + D/2), gated feed-forward, no biases."""

    def __init__(
        self, config: DecoderConfig, base: Weights, adapter: Weights, scale: float
    ) -> None:
        """Base and adapter: by the names of a model's and of PEFT's file."""
        self.config, self.scale = config, scale
        self.base = {name: tensor.double() for name, tensor in base.items()}
        self.adapter = {
            name: tensor.double().requires_grad_(True) for name, tensor in adapter.items()
        }

    def logprobs(self, tokens_T: np.ndarray, targets_T: np.ndarray) -> Tensor:
        """Nats of each target (T,)."""
        x = self.base["model.embed_tokens.weight"][torch.from_numpy(tokens_T).long()]
        for index in range(self.config.num_layers):
            name = f"model.layers.{index}"
            x = x + self._attended(name, self._norm(x, f"{name}.input_layernorm"))
            h = self._norm(x, f"{name}.post_attention_layernorm")
            gate, up = (self._linear(h, f"{name}.mlp.{each}_proj") for each in ("gate", "up"))
            x = x + self._linear(gate / (1 + (-gate).exp()) * up, f"{name}.mlp.down_proj")
        logits = self._linear(self._norm(x, "model.norm"), "lm_head")
        rows = torch.arange(len(tokens_T))
        likeliest = logits.max(-1, keepdim=True).values
        total = (logits - likeliest).exp().sum(-1).log() + likeliest.squeeze(-1)
        return logits[rows, torch.from_numpy(targets_T).long()] - total

    def _norm(self, x: Tensor, name: str) -> Tensor:
        size = (x * x).mean(-1, keepdim=True) + self.config.norm_epsilon
        return x / size.sqrt() * self.base[f"{name}.weight"]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        is_tied = name == "lm_head" and self.config.tie_embeddings
        weight = self.base["model.embed_tokens.weight" if is_tied else f"{name}.weight"]
        found = x @ weight.T
        low = self.adapter.get(f"base_model.model.{name}.lora_A.weight")
        if low is None:
            return found
        high = self.adapter[f"base_model.model.{name}.lora_B.weight"]
        return found + self.scale * ((x @ low.T) @ high.T)

    def _attended(self, name: str, x: Tensor) -> Tensor:
        size, length = self.config.head_dim, x.shape[0]
        q, k, v = (
            self._linear(x, f"{name}.self_attn.{each}_proj").view(length, -1, size)
            for each in ("q", "k", "v")
        )
        q, k = self._rotated(q), self._rotated(k)
        group = self.config.num_heads // self.config.num_kv_heads
        heads = []
        for head in range(self.config.num_heads):
            scores = q[:, head] @ k[:, head // group].T / math.sqrt(size)
            scores = scores + torch.full((length, length), -math.inf).double().triu(1)
            heads.append(scores.softmax(-1) @ v[:, head // group])
        return self._linear(torch.cat(heads, -1), f"{name}.self_attn.o_proj")

    def _rotated(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        speeds = self.config.rope_theta ** (-torch.arange(half).double() / half)
        angles = torch.arange(x.shape[0]).double()[:, None, None] * speeds
        one, two = x[..., :half], x[..., half:]
        return torch.cat(
            (
                one * angles.cos() - two * angles.sin(),
                two * angles.cos() + one * angles.sin(),
            ),
            -1,
        )


def loss_of(name: str, logprobs_T: Tensor, datum: Datum, config: Mapping[str, float]) -> Tensor:
    """The sum over one sequence's places, as the table of losses has it, a place at a time."""
    given = {key: torch.from_numpy(each).double() for key, each in datum.inputs.items()}
    length = len(logprobs_T)
    if name == "cross_entropy":
        weights = given.get("weights", torch.ones(length).double())
        return -sum(weights[t] * logprobs_T[t] for t in range(length))
    mu, gains = given["logprobs"], given["advantages"]
    low, high = config.get("clip_low_threshold", 0.8), config.get("clip_high_threshold", 1.2)
    ratios = [(logprobs_T[t] - mu[t]).exp() for t in range(length)]
    if name == "gspo":
        counted = given.get("mask", gains)
        places = [t for t in range(length) if counted[t] != 0]
        mean = sum(logprobs_T[t] - mu[t] for t in places) / max(1, len(places))
        ratios = [torch.as_tensor(mean).double().exp()] * length
    total = torch.zeros((), dtype=torch.float64)
    for t, ratio in enumerate(ratios):
        held = ratio.clamp(low, high)
        if name == "importance_sampling":
            total = total - ratio * gains[t]
        elif name in ("ppo", "gspo"):
            total = total - torch.minimum(ratio * gains[t], held * gains[t])
        elif name == "cispo":
            total = total - held.detach() * gains[t] * logprobs_T[t]
        elif name == "dro":
            beta = config.get("beta", 0.01)
            beta = beta if "mask" not in given or given["mask"][t] != 0 else 0.0
            total = total - (logprobs_T[t] * gains[t] - beta / 2 * (logprobs_T[t] - mu[t]) ** 2)
        elif name == "stable_reinforce":
            held = ratio.detach().clamp(max=config.get("cap", 2.0))
            total = total - held * gains[t] * logprobs_T[t]
        else:
            raise ValueError(name)
    return total


class AdamOracle:
    """AdamW of arXiv 1711.05101, algorithm 2, on one float64 vector."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights.astype(np.float64)
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.steps = 0

    def step(
        self,
        gradient: np.ndarray,
        rate: float,
        betas: tuple[float, float],
        epsilon: float,
        decay: float,
    ) -> None:
        self.steps += 1
        self.first = betas[0] * self.first + (1 - betas[0]) * gradient
        self.second = betas[1] * self.second + (1 - betas[1]) * gradient**2
        first = self.first / (1 - betas[0] ** self.steps)
        second = self.second / (1 - betas[1] ** self.steps)
        self.weights -= rate * (first / (np.sqrt(second) + epsilon) + decay * self.weights)
