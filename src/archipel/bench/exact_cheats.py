"""After how many positions a cheat shows, when what was recorded is recomputed by the exact contract.

Each position is compared given all before it as recorded, with the noise of its request, so the rate of
differences has no memory; one over it is how long a cheat stays unseen on average.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.bench.exact_subjects import (
    Answers,
    Subject,
    answers_of,
    engine_of,
    recomputed,
    requests_of,
)

NUM_NEW = 48


def int8_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix rounded to 255 steps of its row's largest weight, as bf16."""
    found = {}
    for name, weight in state.items():
        if weight.dim() < 2:
            found[name] = weight
            continue
        step = weight.float().abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
        found[name] = ((weight.float() / step).round() * step).bfloat16()
    return found


def detection(
    subject: Subject, variant: str, count: int, older: Mapping[str, Tensor] | None
) -> list[dict[str, Any]]:
    """A row for each way to answer: the honest one, five cheats, one edited token.

    older: the weights one update before the subject's, if there are such.
    """
    new = min(NUM_NEW, subject.config.max_position_embeddings // 2)
    requests = requests_of(subject, count, new)

    def made(kind: str, state: Mapping[str, Tensor] = subject.state, heat: float = 1.0) -> Answers:
        warm = [replace(request, temperature=heat) for request in requests]
        return answers_of(engine_of(replace(subject, state=state), kind), warm)

    ways: dict[str, Callable[[], Answers]] = {
        "honest": lambda: made(variant),
        "int8 weights": lambda: made(variant, int8_weights(subject.state)),
        "bf16": lambda: made("bf16"),
        "fp32": lambda: made("fp32"),
        "temperature 1.02": lambda: made(variant, heat=1.02),
    }
    if older is not None:
        ways["one update older"] = lambda: made(variant, older)
    rows = [_row(subject, variant, name, requests, way()) for name, way in ways.items()]
    return [*rows, _edited(subject, variant, requests, made(variant))]


def _row(
    subject: Subject, variant: str, way: str, requests: list[Any], answers: Answers
) -> dict[str, Any]:
    found = recomputed(subject, variant, requests, answers.tokens)
    tokens = found.tokens != answers.tokens
    either = tokens | (found.logprobs != answers.logprobs)
    return {
        "model": subject.name, "variant": variant, "way": way, "positions": tokens.size,
        "tokens_differ": int(tokens.sum()), "either_differs": int(either.sum()),
        "first_token_shows": float(either[:, 0].mean()),
    }  # fmt: skip


def _edited(
    subject: Subject, variant: str, requests: list[Any], answers: Answers
) -> dict[str, Any]:
    """One token of each completion replaced by the next in the vocabulary: seen at that very place."""
    at = np.arange(len(requests)) % answers.tokens.shape[1]
    rows = np.arange(len(requests))
    edited = answers.tokens.copy()
    edited[rows, at] = (edited[rows, at] + 1) % subject.config.vocab_size
    found = recomputed(subject, variant, requests, edited)
    seen = int((found.tokens[rows, at] != edited[rows, at]).sum())
    return {
        "model": subject.name, "variant": variant, "way": "one edited token",
        "positions": len(requests), "tokens_differ": seen, "either_differs": seen,
        "first_token_shows": seen / len(requests),
    }  # fmt: skip


def updated(state: Mapping[str, Tensor], rate: float, seed: int) -> dict[str, Tensor]:
    """Weights after a step as large as one of Adam's at this rate, in random directions, as bf16."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (w.float() + rate * torch.randn(w.shape, generator=draw).sign()).bfloat16()
        for name, w in state.items()
    }
