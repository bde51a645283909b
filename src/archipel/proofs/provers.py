"""Whom a verifier is calibrated against: honest provers of this machine, and cheats as they would really be run.

A cheat samples with its own weights, noise or temperature, reports the log-probabilities that it saw, and claims
to have done what was asked. Law: everybody samples by the engine that nodes use.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import Engine, LocalEngine
from archipel.engine.exact.replay import Recorded
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder, causal_attention
from archipel.records.requests import Request

State = Mapping[str, Tensor]
HOTTER = 1.25
OTHER_NOISE = 0x5BD1E995


@dataclass(frozen=True)
class Setting:
    """How a prover computes."""

    dtype: torch.dtype
    slots: int
    """Sequences side by side."""
    threads: int
    network: Path | None = None
    """The model's directory, whose network transformers computes; None: our own engine."""


def answer(
    config: DecoderConfig, state: State, asked: Sequence[Request], setting: Setting, cheat: str = ""
) -> Iterator[Recorded]:
    """Sample what was asked, in one batch, with fingerprints; `state` are the prover's weights, `cheat` changes noise or
    temperature.
    """
    torch.set_num_threads(setting.threads)
    engine = _engine(config, setting)
    engine.load(state)
    own = [replace(_own(request, cheat), tells_fingerprints=True) for request in asked]
    for request, rollouts in zip(asked, engine.generate(own), strict=True):
        yield Recorded(request, dict(enumerate(rollouts)))


def _engine(config: DecoderConfig, setting: Setting) -> Engine:
    if setting.network is None:
        return LocalEngine(config, setting.dtype, limits=EngineLimits(max_slots=setting.slots))
    from archipel.engine.transformers_engine import TransformersEngine

    dtype: Literal["float32", "bfloat16"] = (
        "bfloat16" if setting.dtype is torch.bfloat16 else "float32"
    )
    return TransformersEngine(setting.network, dtype)


def _own(request: Request, cheat: str) -> Request:
    if cheat == "temperature":
        return replace(request, temperature=request.temperature * HOTTER)
    return replace(request, seed=request.seed ^ OTHER_NOISE) if cheat == "noise" else request


def rounded(state: State, bits: int) -> dict[str, Tensor]:
    """Matrices at so many bits, symmetric, one scale for each output: the usual cheap copy."""
    most = 2 ** (bits - 1) - 1
    found = {}
    for name, tensor in state.items():
        values = tensor.float()
        if values.ndim == 2:
            scale = values.abs().amax(1, keepdim=True).clamp(min=1e-12) / most
            values = (values / scale).round() * scale
        found[name] = values.to(tensor.dtype)
    return found


def one_step_before(
    decoder: Decoder, recorded: Sequence[Recorded], learning_rate: float
) -> dict[str, Tensor]:
    """Weights one optimiser step away: Adam's first step on a policy gradient of these rollouts, in bf16.

    Rewards are made up, one rollout after the other good and bad: what counts is the size of a step.
    """
    with torch.enable_grad():
        loss = torch.zeros(())
        for each in recorded:
            for number, rollout in each.rollouts.items():
                line = torch.tensor([[*each.request.prompt, *rollout.tokens]])
                inputs = line[:, :-1]
                positions = torch.arange(inputs.shape[1]).unsqueeze(0)
                hidden = decoder(inputs, positions, causal_attention)
                logits = decoder.logits(hidden[0, len(each.request.prompt) - 1 :])
                chosen = torch.log_softmax(logits, -1).gather(
                    1, line[0, -len(rollout.tokens) :, None]
                )
                loss = loss + chosen.sum() * (1 if number % 2 else -1)
        named = dict(decoder.named_parameters())
        slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: (value if slope is None else value - learning_rate * slope.sign())
        .detach()
        .to(torch.bfloat16)
        for (name, value), slope in zip(named.items(), slopes, strict=True)
    }
