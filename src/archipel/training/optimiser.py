"""AdamW over fp32 masters, with a model that always holds what would be published.

Only what is trained has a master: frozen parameters are left alone.

The model's parameters are the masters rounded to bfloat16 (nearest even, kept in fp32 storage);
gradients are taken there and applied to the masters. So the policy whose log-probabilities stand in
the ratio is, bit for bit, the one that nodes sample from: on fresh rollouts the ratio is 1 up to the
order of float additions. Taking the gradient at the masters instead would put the rounding error
of every weight into every ratio. Small updates are not lost: they add up in the masters until a
published weight moves.
Sources: decoupled weight decay, arXiv 1711.05101; fp32 masters, arXiv 1710.03740.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from archipel.training.sharding import fill, own_part, whole

STATE_KEYS = ("master", "exp_avg", "exp_avg_sq")
"""What is kept of every parameter, each in its shape and fp32."""
AT_ONCE = ("cpu", "cuda", "xpu")
"""Devices where torch has one operation for all tensors of a model."""


class Diverged(ArithmeticError):
    """The gradient is not finite; no weight was changed."""


@dataclass(frozen=True)
class AdamSettings:
    """Constants of AdamW."""

    beta1: float
    beta2: float
    weight_decay: float
    clip_norm: float
    epsilon: float = 1e-8


class MasterAdamW:
    """Owns the masters and moments of a model's trained parameters; rounds those on construction."""

    def __init__(self, model: nn.Module, settings: AdamSettings) -> None:
        self._parameters = {
            name: each for name, each in model.named_parameters() if each.requires_grad
        }
        for name, parameter in self._parameters.items():
            if parameter.dtype != torch.float32:
                raise TypeError(
                    f"{name} is {parameter.dtype}, expected float32; read the model as float32"
                )
        self._masters = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }
        self._clip_norm = settings.clip_norm
        self._adam = torch.optim.AdamW(
            self._decay_groups(settings.weight_decay),
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            fused=True,
        )
        self.steps = 0
        self._round_into_model()

    def _decay_groups(self, weight_decay: float) -> list[dict]:
        """Matrices decay; norms and biases, whose scale means something, do not."""
        matrices = [master for master in self._masters.values() if master.dim() > 1]
        vectors = [master for master in self._masters.values() if master.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def step(self, learning_rate: float) -> float:
        """Clip, apply and drop the model's gradients; returns their norm before clipping.

        Raises:
            Diverged: the norm is not finite. Weights and moments are as before.
        """
        for name, parameter in self._parameters.items():
            self._masters[name].grad = parameter.grad
            parameter.grad = None
        masters = list(self._masters.values())
        at_once = True if masters[0].device.type in AT_ONCE else None
        total = torch.nn.utils.get_total_norm(
            [master.grad for master in masters if master.grad is not None], foreach=at_once
        )
        norm = float(whole(total))
        if not math.isfinite(norm):
            self._adam.zero_grad(set_to_none=True)
            raise Diverged(
                f"gradient norm is {norm} at optimiser step {self.steps}; restart from the last "
                "checkpoint with a lower learning rate"
            )
        torch.nn.utils.clip_grads_with_norm_(masters, self._clip_norm, total, foreach=at_once)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.steps += 1
        self._round_into_model()
        return norm

    @torch.no_grad()
    def _round_into_model(self) -> None:
        for name, parameter in self._parameters.items():
            own_part(parameter).copy_(own_part(self._masters[name]).to(torch.bfloat16))

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Masters and moments, whole, on the CPU: all that an exact resume needs beside `steps`.

        copy: False gives the tensors themselves where they are whole and on the CPU, which the next step
        changes: for whoever writes them down at once, without twelve more bytes a parameter.
        """
        state = {}
        for name, master in self._masters.items():
            moments = self._adam.state.get(master, {})
            state[f"master.{name}"] = _on_cpu(master, copy)
            for key in ("exp_avg", "exp_avg_sq"):
                moment = moments.get(key, torch.zeros_like(master))
                state[f"{key}.{name}"] = _on_cpu(moment, copy)
        return state

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take up where `state()` was given after `steps` steps.

        Raises:
            KeyError: a tensor is missing. ValueError: one has another shape.
        """
        for name, master in self._masters.items():
            for key in STATE_KEYS:
                found, expected = state[f"{key}.{name}"].shape, master.shape
                if found != expected:
                    raise ValueError(f"{key}.{name} has shape {found}, expected {expected}")
            fill(master, state[f"master.{name}"])
            moments = self._adam.state[master]
            moments["step"] = torch.tensor(float(steps), device=master.device)
            for key in ("exp_avg", "exp_avg_sq"):
                moments[key] = torch.zeros_like(master)
                fill(moments[key], state[f"{key}.{name}"])
        self.steps = steps
        self._round_into_model()


def _on_cpu(tensor: Tensor, copy: bool) -> Tensor:
    return whole(tensor.detach()).to("cpu", copy=copy).contiguous()
