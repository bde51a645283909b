"""AdamW over fp32 masters, with a model that always holds what would be published.

Only what is trained has a master: frozen parameters are left alone.

The model's parameters are the masters rounded to bfloat16 (nearest even, kept in the type that is computed in);
gradients are taken there and applied to the masters. So the policy whose log-probabilities stand in
the ratio is, bit for bit, the one that nodes sample from: on fresh rollouts the ratio is 1 up to the
order of float additions. Taking the gradient at the masters instead would put the rounding error
of every weight into every ratio. Small updates are not lost: they add up in the masters until a
published weight moves. Where the model computes in another type or on another device than the masters,
gradients are added up beside the masters, in float32, as they come.
Sources: decoupled weight decay, arXiv 1711.05101; fp32 masters, arXiv 1710.03740; masters and gradients in the
processor's memory, arXiv 2101.06840.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from archipel.records.recipe import MemorySection, OptimiserSection, SupervisedSection
from archipel.training.eight_bit import EightBitMoments, is_fit, kept_of
from archipel.training.sharding import fill, own_part, this_site, whole
from archipel.training.thrift import PLAIN, narrow

MASTER = "master"
MOMENTS = ("exp_avg", "exp_avg_sq")
STATE_KEYS = (MASTER, *MOMENTS)
"""What is kept of a parameter whose moments are not narrowed, each in its shape and fp32."""
AT_ONCE = ("cpu", "cuda", "xpu")
"""Devices where torch has one operation for all tensors of a model."""


class Diverged(ArithmeticError):
    """The gradient is not finite; no weight was changed."""


class CannotOffload(ValueError):
    """Several processes are to keep their parts elsewhere."""


@dataclass(frozen=True)
class AdamSettings:
    """Constants of AdamW, and the memory that it is kept in."""

    beta1: float
    beta2: float
    weight_decay: float
    clip_norm: float
    epsilon: float = 1e-8
    memory: MemorySection = PLAIN

    @classmethod
    def of(cls, section: OptimiserSection | SupervisedSection, memory: MemorySection) -> Self:
        """As a recipe says; its supervised stage has the usual epsilon."""
        epsilon = section.epsilon if isinstance(section, OptimiserSection) else cls.epsilon
        decay, norm = section.weight_decay, section.clip_norm
        return cls(section.beta1, section.beta2, decay, norm, epsilon, memory)


def state_of(
    shape: tuple[int, ...], memory: MemorySection
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """What `MasterAdamW.state` holds of a parameter of this shape: key -> shape and type."""
    if memory.moments == "8bit" and is_fit(shape):
        return {MASTER: (shape, torch.float32)} | kept_of(shape)
    return dict.fromkeys(STATE_KEYS, (shape, torch.float32))


class MasterAdamW:
    """Owns the masters and moments of a model's trained parameters; rounds those on construction."""

    def __init__(self, model: nn.Module, settings: AdamSettings) -> None:
        """Raises CannotOffload: the recipe's memory is the processor's, and several processes learn."""
        self._parameters = {
            name: each for name, each in model.named_parameters() if each.requires_grad
        }
        for name, parameter in self._parameters.items():
            if parameter.dtype != torch.float32:
                raise TypeError(
                    f"{name} is {parameter.dtype}, expected float32; read the model as float32"
                )
        self._settings, self.steps = settings, 0
        self._masters = self._copied(settings.memory.offload)
        narrow_ones = {
            name: master
            for name, master in self._masters.items()
            if settings.memory.moments == "8bit" and is_fit(tuple(master.shape))
        }
        betas = settings.beta1, settings.beta2
        self._eight = EightBitMoments(narrow_ones, betas, settings.epsilon)
        self._wide = [name for name in self._masters if name not in narrow_ones]
        self._adam = self._made_adam()
        narrow(model, settings.memory, this_site())
        self._gather_gradients()
        self._round_into_model()

    def _copied(self, offload: bool) -> dict[str, Tensor]:
        if offload and this_site().world > 1:
            raise CannotOffload(
                "memory.offload is for one process and several learn together here, which share the state already; "
                "set it to false"
            )
        device = torch.device("cpu") if offload else None
        return {
            name: parameter.detach().to(device, copy=True)
            for name, parameter in self._parameters.items()
        }

    def _made_adam(self) -> torch.optim.AdamW | None:
        """For what has fp32 moments. Matrices decay; norms and biases, whose scale means something, do not."""
        masters = [self._masters[name] for name in self._wide]
        groups = [
            {
                "params": [each for each in masters if each.dim() > 1],
                "weight_decay": self._settings.weight_decay,
            },
            {"params": [each for each in masters if each.dim() <= 1], "weight_decay": 0.0},
        ]
        if not masters:
            return None
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            betas=(self._settings.beta1, self._settings.beta2),
            eps=self._settings.epsilon,
            fused=True,
        )

    def _gather_gradients(self) -> None:
        """Add gradients up at the master, where they are of another type or on another device than it."""
        for name, parameter in self._parameters.items():
            master = self._masters[name]
            if (parameter.dtype, parameter.device) != (master.dtype, master.device):
                parameter.register_post_accumulate_grad_hook(_to(master))

    def step(self, learning_rate: float) -> float:
        """Clip, apply and drop the model's gradients; returns their norm before clipping.

        Raises:
            Diverged: the norm is not finite. Weights and moments are as before.
        """
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self._masters[name].grad = parameter.grad
                parameter.grad = None
        masters = list(self._masters.values())
        at_once = True if masters[0].device.type in AT_ONCE else None
        total = torch.nn.utils.get_total_norm(
            [master.grad for master in masters if master.grad is not None], foreach=at_once
        )
        norm = float(whole(total))
        if not math.isfinite(norm):
            self._drop_gradients()
            raise Diverged(
                f"gradient norm is {norm} at optimiser step {self.steps}; restart from the last "
                "checkpoint with a lower learning rate"
            )
        torch.nn.utils.clip_grads_with_norm_(
            masters, self._settings.clip_norm, total, foreach=at_once
        )
        if self._adam is not None:
            for group in self._adam.param_groups:
                group["lr"] = learning_rate
            self._adam.step()
        self.steps += 1
        self._eight.step(self.steps, learning_rate, self._settings.weight_decay)
        self._drop_gradients()
        self._round_into_model()
        return norm

    def _drop_gradients(self) -> None:
        for master in self._masters.values():
            master.grad = None

    @torch.no_grad()
    def lean_on(self, told: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        """Go on from published weights: a master that rounds to another number than was published becomes that number.

        told: (a trained parameter, its published weights in bf16); where both agree nothing changes.
        """
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        for parameter, weights in told:
            master = self._masters[names[id(parameter)]]
            theirs = weights.to(master.device)
            master.copy_(torch.where(master.bfloat16() == theirs, master, theirs.float()))
        self._round_into_model()

    @torch.no_grad()
    def _round_into_model(self) -> None:
        for name, parameter in self._parameters.items():
            own_part(parameter).copy_(own_part(self._masters[name]).to(torch.bfloat16))

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Masters and moments, whole, on the CPU: all that an exact resume needs beside `steps`.

        copy: False gives the tensors themselves where they are whole and on the CPU, which the next step
        changes: for whoever writes them down at once, without as many more bytes a parameter.
        """
        state = {}
        for name, master in self._masters.items():
            state[f"{MASTER}.{name}"] = _on_cpu(master, copy)
            for key, moment in self._moments(name).items():
                state[f"{key}.{name}"] = _on_cpu(moment, copy)
        return state

    def tensors(self) -> dict[str, Tensor]:
        """The same by the same names, as this process holds them: its own parts where several share, nothing copied."""
        held = {f"{MASTER}.{name}": master for name, master in self._masters.items()}
        for name in self._masters:
            held |= {f"{key}.{name}": each for key, each in self._moments(name).items()}
        return held

    @torch.no_grad()
    def take_up(self, read_into: Callable[[Mapping[str, Tensor]], None], steps: int) -> None:
        """Take up where `tensors()` were given after `steps` steps. read_into: sets tensors to what was saved by name."""
        for name in self._wide if self._adam is not None else ():
            master = self._masters[name]
            self._hold(name, {key: torch.zeros_like(master) for key in MOMENTS}, steps)
        read_into(self.tensors())
        self.steps = steps
        self._round_into_model()

    def _hold(self, name: str, moments: Mapping[str, Tensor], steps: int) -> None:
        """These are the moments of a parameter that AdamW of torch moves, from now on."""
        master = self._masters[name]
        step = torch.tensor(float(steps), device=master.device)
        self._adam.state[master] = {"step": step, **moments}  # type: ignore[union-attr]

    def _moments(self, name: str) -> dict[str, Tensor]:
        if self._adam is None or name not in self._wide:
            return self._eight.of(name)
        master = self._masters[name]
        moments = self._adam.state.get(master, {})
        return {key: moments.get(key, torch.zeros_like(master)) for key in MOMENTS}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take up where `state()` was given after `steps` steps.

        Raises:
            KeyError: a tensor is missing. ValueError: one has another shape.
        """
        for name, master in self._masters.items():
            kept = state_of(tuple(master.shape), self._settings.memory)
            for key, (expected, _) in kept.items():
                found = state[f"{key}.{name}"].shape
                if found != expected:
                    raise ValueError(f"{key}.{name} has shape {found}, expected {expected}")
            fill(master, state[f"{MASTER}.{name}"])
            self._load_moments(
                name, {key: state[f"{key}.{name}"] for key in kept if key != MASTER}, steps
            )
        self.steps = steps
        self._round_into_model()

    def _load_moments(self, name: str, kept: Mapping[str, Tensor], steps: int) -> None:
        master = self._masters[name]
        if self._adam is None or name not in self._wide:
            self._eight.load(name, kept)
            return
        moments = {key: torch.zeros_like(master) for key in kept}
        for key, full in kept.items():
            fill(moments[key], full)
        self._hold(name, moments, steps)


def _to(master: Tensor) -> Callable[[Tensor], None]:
    """What hands a parameter's gradient over to its master."""

    def add(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is None:
            return
        gradient = gradient.to(master.device, master.dtype)
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)

    return add


def _on_cpu(tensor: Tensor, copy: bool) -> Tensor:
    return whole(tensor.detach()).to("cpu", copy=copy).contiguous()
