"""After how many positions a cheat shows, when what was recorded is recomputed by the exact contract.

Each position is compared given all before it as recorded, with the noise of its request, so the rate of
differences has no memory; one over it is how long a cheat stays unseen on average.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.bench.exact_subjects import (
    Answers,
    Subject,
    answers_of,
    decoder_of,
    engine_of,
    recomputed,
    requests_of,
)

_MADE_UP = 3e-6
"""Size of the step that a model which was not trained here has not seen."""


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


WAYS = (
    "honest", "int8 weights", "bf16", "fp32", "temperature 1.02", "one update older", "one edited token",
)  # fmt: skip


class Court:
    """One model and variant, by which answers of every way are recomputed; `count` answers of each.

    The weights of one update before are the subject's own, or else what a made-up step starts from.
    """

    def __init__(self, subject: Subject, variant: str, count: int) -> None:
        self._variant = variant
        self._older = subject.older or subject.state
        if subject.older is None:
            subject = replace(subject, state=updated(subject.state, _MADE_UP, 1))
        self._subject = subject
        new = min(subject.num_new, subject.config.max_position_embeddings // 2)
        self._requests = requests_of(subject, count, new)
        self._decoder = decoder_of(subject, variant)

    def row(self, way: str) -> dict[str, Any]:
        """How many positions of answers made this way differ from what they should be."""
        if way == "one edited token":
            return self._edited()
        answers = self._made(way)
        found = self._found(answers.tokens)
        tokens = found.tokens != answers.tokens
        either = tokens | (found.logprobs != answers.logprobs)
        return self._row(way, tokens.size, int(tokens.sum()), int(either.sum()))

    def _made(self, way: str) -> Answers:
        kind, state, heat = self._variant, self._subject.state, 1.0
        if way == "int8 weights":
            state = int8_weights(state)
        elif way in ("bf16", "fp32"):
            kind = way
        elif way == "temperature 1.02":
            heat = 1.02
        elif way == "one update older":
            state = self._older
        warm = [replace(request, temperature=heat) for request in self._requests]
        return answers_of(engine_of(replace(self._subject, state=state), kind), warm)

    def _edited(self) -> dict[str, Any]:
        """One token of each completion replaced by the next in the vocabulary: seen at that very place?"""
        answers = self._made("honest")
        rows = np.arange(len(self._requests))
        at = rows % answers.tokens.shape[1]
        edited = answers.tokens.copy()
        edited[rows, at] = (edited[rows, at] + 1) % self._subject.config.vocab_size
        seen = int((self._found(edited).tokens[rows, at] != edited[rows, at]).sum())
        return self._row("one edited token", len(rows), seen, seen)

    def _found(self, tokens: np.ndarray) -> Answers:
        return recomputed(self._subject, self._variant, self._requests, tokens, self._decoder)

    def _row(self, way: str, positions: int, tokens: int, either: int) -> dict[str, Any]:
        return {
            "model": self._subject.name, "variant": self._variant, "way": way,
            "positions": positions, "tokens_differ": tokens, "either_differs": either,
        }  # fmt: skip


def updated(state: Mapping[str, Tensor], rate: float, seed: int) -> dict[str, Tensor]:
    """Weights after a step as large as one of Adam's at this rate, in random directions, as bf16."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (w.float() + rate * torch.randn(w.shape, generator=draw).sign()).bfloat16()
        for name, w in state.items()
    }
