"""How inner steps move weights: AdamW over float32 weights, alone or beside Muon, and what both remember.

The weights are float32 all through, unlike those of reinforcement learning (`training.optimiser`), which are at any
time what would be published: nobody samples from a member's weights, and a pseudo-gradient of a few thousandths of a
weight would be lost in bfloat16. Source: decoupled weight decay, arXiv 1711.05101.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archipel.training.inner.muon import Muon, is_moved_by_muon
from archipel.training.inner.terms import InnerTerms
from archipel.training.optimiser import AT_ONCE, MOMENTS, Diverged
from archipel.training.sharding import fill, whole

MOMENTUM = "momentum"
"""What Muon remembers of a matrix."""


def moment_keys(name: str, shape: tuple[int, ...], terms: InnerTerms) -> tuple[str, ...]:
    """What is remembered of a parameter, each in its shape and float32: `<key>.<name>` in a state."""
    return (MOMENTUM,) if is_moved_by_muon(name, shape, terms) else MOMENTS


def moment_shapes(
    shapes: Mapping[str, tuple[int, ...]], terms: InnerTerms
) -> dict[str, tuple[int, ...]]:
    """Of all that is remembered of a network whose parameters have these shapes."""
    return {
        f"{key}.{name}": shape
        for name, shape in shapes.items()
        for key in moment_keys(name, shape, terms)
    }


class InnerOptimiser:
    """Moves a network's parameters in place. Several may stand over one network: each has its own memory."""

    def __init__(self, network: nn.Module, terms: InnerTerms) -> None:
        self._terms, self.steps = terms, 0
        self._parameters = dict(network.named_parameters())
        shapes = {name: tuple(each.shape) for name, each in self._parameters.items()}
        matrices = [name for name in shapes if is_moved_by_muon(name, shapes[name], terms)]
        self._muon = Muon({name: self._parameters[name] for name in matrices}, terms)
        self._rest = {name: p for name, p in self._parameters.items() if name not in matrices}
        self._rest_factor = terms.rest_factor if matrices else 1.0
        groups = [
            {"params": [p for p in self._rest.values() if p.dim() > 1], "weight_decay": terms.weight_decay},
            {"params": [p for p in self._rest.values() if p.dim() <= 1], "weight_decay": 0.0},
        ]  # fmt: skip
        betas = terms.beta1, terms.beta2
        self._adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            betas=betas,
            eps=terms.epsilon,
            fused=True,
        )

    def step(self, rate: float) -> float:
        """Clip, apply and drop the gradients; returns their norm before clipping.

        Raises:
            Diverged: the norm is not finite. Weights and moments are as before.
        """
        parameters = list(self._parameters.values())
        for (
            each
        ) in parameters:  # an expert that nobody was sent to still decays, and counts the step
            each.grad = torch.zeros_like(each) if each.grad is None else each.grad
        at_once = True if parameters[0].device.type in AT_ONCE else None
        gradients = [each.grad for each in parameters if each.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients, foreach=at_once)
        norm = float(whole(total))
        if not math.isfinite(norm):
            self._drop_gradients()
            raise Diverged(
                f"gradient norm is {norm} after {self.steps} steps; this work cannot be done from these weights: lower "
                "the run's learning rate"
            )
        torch.nn.utils.clip_grads_with_norm_(
            parameters, self._terms.clip_norm, total, foreach=at_once
        )
        for group in self._adam.param_groups:
            group["lr"] = rate * self._rest_factor
        self._adam.step()
        self._muon.step(rate)
        self.steps += 1
        self._drop_gradients()
        return norm

    def _drop_gradients(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    def forget(self) -> None:
        """Begin anew."""
        self._adam.state.clear()
        self._muon.forget()
        self.steps = 0

    def moments(self) -> dict[str, Tensor]:
        """All that is remembered, whole, on the CPU; tensors themselves where they are that already. A collective."""
        found = {}
        for name, parameter in self._parameters.items():
            held = self._held(name)
            for key in moment_keys(name, tuple(parameter.shape), self._terms):
                moment = held.get(key)
                moment = torch.zeros_like(parameter.detach()) if moment is None else moment
                found[f"{key}.{name}"] = whole(moment).cpu().contiguous()
        return found

    def _held(self, name: str) -> Mapping[str, Tensor]:
        if name in self._rest:
            held: Mapping[str, Tensor] = self._adam.state.get(self._rest[name], {})
            return held
        return {MOMENTUM: self._muon.momenta[name]}

    @torch.no_grad()
    def load(self, moments: Mapping[str, Tensor], steps: int) -> None:
        """Take up where `moments()` was given after `steps` steps; names and shapes fit."""
        self.forget()
        for name, parameter in self._parameters.items():
            if name not in self._rest:
                fill(self._muon.momenta[name], moments[f"{MOMENTUM}.{name}"])
                continue
            state = self._adam.state[parameter]
            state["step"] = torch.tensor(float(steps), device=parameter.device)
            for key in MOMENTS:
                state[key] = torch.zeros_like(parameter.detach())
                fill(state[key], moments[f"{key}.{name}"])
        self.steps = steps
