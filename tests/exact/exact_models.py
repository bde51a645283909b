"""Small models in exact arithmetic, and what is asked of them: every family, mixed lengths, window edges."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.replay import Recorded, Replayer
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, Family
from archipel.model.network import causal_attention
from archipel.records.rollouts import Rollout
from engine.engine_models import decoder_of, lively_state, small_config

CPU = torch.device("cpu")
WORLDS = [
    (family, variant)
    for number, family in enumerate(EXACT_FAMILIES)
    for variant in (("w7a8", "w7a15")[number % 2], "w12a13", "w13a15")
]
"""Every family in the widest variant, in the one by length, and in another."""
FEW = [WORLDS[0], WORLDS[4], WORLDS[8], WORLDS[11]]
"""Every family once; fast enough for every change."""
EDGES = (1, 2, 7, 8, 9, 120, 127, 128, 129, 250, 255, 256, 257)
"""Lengths of prompts about the ends of windows, chunks and blocks."""


def numbers(config: DecoderConfig, variant: str, compact: bool = False) -> ExactArithmetic:
    return ExactArithmetic(config, VARIANTS[variant], CPU, compact)


def exact_engine(
    config: DecoderConfig,
    state: Mapping[str, Tensor],
    variant: str,
    *,
    compact: bool = False,
    limits: EngineLimits | None = None,
) -> LocalEngine:
    made = LocalEngine(config, arithmetic=numbers(config, variant, compact), limits=limits)
    made.load(state)
    return made


def replayer(
    config: DecoderConfig,
    state: Mapping[str, Tensor],
    variant: str,
    *,
    compact: bool = False,
    limits: EngineLimits | None = None,
) -> Replayer:
    made = Replayer(numbers(config, variant, compact), limits)
    made.load(state)
    return made


def world_config(family: Family) -> DecoderConfig:
    return small_config(family, hidden_size=32, num_heads=4, head_dim=8, intermediate_size=48)


def world(family: Family) -> tuple[DecoderConfig, dict[str, Tensor]]:
    config = world_config(family)
    return config, lively_state(config, seed=3)


def mixed_requests(
    vocab_size: int, lengths: Sequence[int] = (1, 5, 8, 30, 127), seed: int = 0
) -> list[Request]:
    """Groups of many sizes, with stop tokens, temperatures and lengths that differ."""
    rng = random.Random(seed)
    return [
        Request(
            key=str(index),
            prompt=tuple(rng.randrange(vocab_size) for _ in range(length)),
            seed=rng.randrange(2**64),
            num_rollouts=(3, 1, 2)[index % 3],
            max_new_tokens=(12, 3, 9, 1)[index % 4],
            temperature=(1.0, 0.7, 0.0)[index % 3],
            stop_tokens=(3, 9, 17) if index % 2 else (),
        )
        for index, length in enumerate(lengths)
    ]


def sampled(engine: LocalEngine, requests: Sequence[Request]) -> list[Recorded]:
    groups = engine.generate(requests)
    return [
        Recorded(request, dict(enumerate(group)))
        for request, group in zip(requests, groups, strict=True)
    ]


def digest_of(groups: Iterable[Iterable[Rollout]]) -> str:
    """Over every token and every bit of every log-probability."""
    made = hashlib.sha256()
    for rollout in (rollout for group in groups for rollout in group):
        made.update(np.array(rollout.tokens, "<i8").tobytes())
        made.update(np.array(rollout.logprobs, "<f8").tobytes() + bytes([rollout.finished]))
    return made.hexdigest()


def changed(recorded: Recorded, number: int, **fields: object) -> Recorded:
    """With one rollout told otherwise."""
    rollout = replace(recorded.rollouts[number], **fields)  # type: ignore[arg-type]
    return replace(recorded, rollouts={**recorded.rollouts, number: rollout})


def trained(family: Family, steps: int = 40) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """A world taught for a moment to count on: its weights are shaped by gradients, its logits sharp."""
    config, state = world(family)
    model = decoder_of(config, state).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    tokens = (torch.arange(24)[None] * 5 + torch.arange(16)[:, None] * 3) % config.vocab_size
    places = torch.arange(23).expand(16, 23)
    for _ in range(steps):
        optimiser.zero_grad()
        logits = model.logits(model(tokens[:, :-1], places, causal_attention))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return config, {name: each.detach().bfloat16() for name, each in model.state_dict().items()}
