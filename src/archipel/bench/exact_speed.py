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
from archipel.engine.exact.timing import take_turns


def speed(
    subject: Subject, kinds: Sequence[str], batch_sizes: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Milliseconds a step: best and all rounds, and the median ratio to the first of `kinds`."""
    engines = {kind: engine_of(subject, kind) for kind in kinds}
    rows = []
    for batch in batch_sizes:
        times = take_turns(engines, subject.config, batch, rounds)
        for kind in kinds:
            ratios = [a / b for a, b in zip(times[kind], times[kinds[0]], strict=True)]
            rows.append({
                "model": subject.name, "batch": batch, "kind": kind, "rounds": len(ratios),
                "ms": min(times[kind]) * 1e3, "ratio": statistics.median(ratios),
                "low": min(ratios), "high": max(ratios),
            })  # fmt: skip
    return rows


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
