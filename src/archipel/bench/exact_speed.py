"""Decode steps of exact engines beside fp32 and bf16, and what recomputing costs beside generating.

Processor time of one thread; the engines take turns within a round, and a ratio is taken within a round.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
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

CONTEXT = 64
"""Tokens of each prompt, where verifying is measured."""
GROUP = 8
"""Rollouts of one prompt, where verifying is measured."""


def speed(
    subject: Subject, kinds: Sequence[str], batch_sizes: Sequence[int], rounds: int
) -> Iterator[list[dict[str, Any]]]:
    """For each batch size, milliseconds a step of each kind and its ratios to the first, and to bf16 if it is there.

    The best round, and the median and range of ratios within a round.
    """
    engines = {kind: engine_of(subject, kind) for kind in kinds}
    for batch in batch_sizes:
        times = take_turns(engines, subject.config, batch, rounds)
        yield [
            {
                "model": subject.name, "batch": batch, "kind": kind, "rounds": rounds,
                "ms": min(times[kind]) * 1e3, **_spread(times[kind], times[kinds[0]]),
                "over_bf16": _spread(times[kind], times["bf16"]) if "bf16" in times else None,
            }
            for kind in kinds
        ]  # fmt: skip


def _spread(times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(times, others, strict=True)]
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def verifying(
    subject: Subject, kind: str, batch_sizes: Sequence[int], rounds: int, num_new: int
) -> Iterator[list[dict[str, Any]]]:
    """For each batch size, seconds to recompute completions over seconds to generate them.

    Groups of `GROUP` share a prompt, which both sides read once. `dense` recomputes all that was generated
    together; `single` one group alone, as far as it is a part of the whole. Both sides take turns.
    """
    engine, decoder = engine_of(subject, kind), decoder_of(subject, kind)
    for batch in batch_sizes:
        group = min(GROUP, batch)
        context = min(CONTEXT, subject.config.max_position_embeddings // 4)
        requests = requests_of(subject, batch // group, num_new, group=group, prompt=context)
        again = partial(recomputed, subject, kind, made=decoder)
        times: dict[str, list[float]] = {"generate": [], "dense": [], "single": []}
        differ = 0
        for _ in range(rounds):
            made, took = _timed(partial(answers_of, engine, requests))
            dense, dense_took = _timed(partial(again, requests, made.tokens))
            first, single = _timed(partial(again, requests[:1], made.tokens[:group]))
            for name, seconds in zip(
                times, (took, dense_took, single * len(requests)), strict=True
            ):
                times[name].append(seconds)
            differ += int((dense.logprobs != made.logprobs).sum())
            differ += int((first.logprobs != made.logprobs[:group]).sum())
        yield [{
            "model": subject.name, "kind": kind, "batch": batch, "group": group, "rounds": rounds,
            "positions": made.tokens.size, "prompt": context, "differ": differ,
            "generate_ms": min(times["generate"]) / made.tokens.size * 1e3,
            "dense": _spread(times["dense"], times["generate"]),
            "single": _spread(times["single"], times["generate"]),
        }]  # fmt: skip


def _timed(work: Callable[[], Answers]) -> tuple[Answers, float]:
    began = time.process_time()
    made = work()
    return made, time.process_time() - began
