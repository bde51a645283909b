"""Decode steps of exact engines beside fp32 and bf16, and what recomputing costs beside generating.

Processor time of one thread; the engines take turns within a round, and a ratio is taken within a round.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from archipel.bench.exact_subjects import (
    Answers,
    Subject,
    answers_of,
    decoder_of,
    engine_of,
    recomputed,
    requests_of,
)
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.noise import random_tokens

CONTEXT = 64
_STEPS = 4
"""Of one engine before the next has its turn."""


def speed(
    subject: Subject, kinds: Sequence[str], batch_sizes: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Milliseconds a step: best and all rounds, and the median ratio to the first of `kinds`."""
    engines = {kind: engine_of(subject, kind) for kind in kinds}
    rows = []
    for batch in batch_sizes:
        times = _race(subject, engines, batch, rounds)
        for kind in kinds:
            ratios = [a / b for a, b in zip(times[kind], times[kinds[0]], strict=True)]
            rows.append({
                "model": subject.name, "batch": batch, "kind": kind, "rounds": len(ratios),
                "ms": min(times[kind]), "ratio": statistics.median(ratios),
                "low": min(ratios), "high": max(ratios),
            })  # fmt: skip
    return rows


def _race(
    subject: Subject, engines: dict[str, LocalEngine], batch: int, rounds: int
) -> dict[str, list[float]]:
    context = min(CONTEXT, subject.config.max_position_embeddings // 4)
    room = subject.config.max_position_embeddings - context
    times: dict[str, list[float]] = {kind: [] for kind in engines}
    waiting: dict[str, list[Any]] = {kind: [] for kind in engines}
    for index in range(rounds):
        for kind in list(engines)[:: 1 if index % 2 == 0 else -1]:
            engine = engines[kind]
            if index * _STEPS % max(_STEPS, room - 2 * _STEPS) == 0:  # the model's positions end
                _cancel(engine, waiting[kind])
                waiting[kind] = [
                    engine.add(_request(subject, i, context, min(room, (rounds + 1) * _STEPS + 2)))
                    for i in range(batch)
                ]
                for _ in range(2):
                    engine.step()
            began = time.process_time()
            for _ in range(_STEPS):
                engine.step()
            times[kind].append((time.process_time() - began) / _STEPS * 1e3)
    for kind, engine in engines.items():
        _cancel(engine, waiting[kind])
    return times


def _request(subject: Subject, index: int, context: int, num_new: int) -> Request:
    prompt = random_tokens(7, index % 8, context, subject.config.vocab_size)
    return Request(str(index), prompt, index, 1, num_new)


def _cancel(engine: LocalEngine, tickets: Sequence[Any]) -> None:
    for ticket in tickets:
        engine.cancel(ticket)


def verifying(
    subject: Subject, kinds: Sequence[str], batch_sizes: Sequence[int], num_new: int
) -> list[dict[str, Any]]:
    """Seconds to recompute completions over seconds to generate them, at each batch size."""
    rows = []
    for kind in kinds:
        for batch in batch_sizes:
            requests = requests_of(subject, batch, num_new)
            engine, decoder = engine_of(subject, kind), decoder_of(subject, kind)
            made, took = _timed(partial(answers_of, engine, requests))
            given = made.tokens
            found, again = _timed(partial(recomputed, subject, kind, requests, given, decoder))
            rows.append({
                "model": subject.name, "kind": kind, "batch": batch, "positions": given.size,
                "generate_s": took, "recompute_s": again, "ratio": again / took,
                "tokens_differ": int((found.tokens != given).sum()),
            })  # fmt: skip
    return rows


def _timed(work: Callable[[], Answers]) -> tuple[Answers, float]:
    began = time.process_time()
    made = work()
    return made, time.process_time() - began
