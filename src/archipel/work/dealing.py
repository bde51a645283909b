"""Which of several engines gets what of a list of requests. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from archipel.records.requests import Request

Part = tuple[int, Request]
"""(number of the request that it is a part of, what to sample of it)."""


def dealt(requests: Sequence[Request], engines: int) -> list[list[Part]]:
    """Which parts each engine gets: the longest work first, to whoever has least.

    Groups stay whole where there are at least two for each engine: a prompt is then read once.
    """
    pieces = 1 if len(requests) >= 2 * engines else engines
    parts = [part for pair in enumerate(requests) for part in _cut(*pair, pieces)]
    deals: list[list[Part]] = [[] for _ in range(engines)]
    loads = [0] * engines
    for number, part in sorted(parts, key=lambda each: -_work(each[1])):
        least = loads.index(min(loads))
        deals[least].append((number, part))
        loads[least] += _work(part)
    return deals


def _cut(number: int, request: Request, pieces: int) -> list[Part]:
    count = request.num_rollouts
    bounds = [count * piece // pieces for piece in range(pieces + 1)]
    return [
        (
            number,
            replace(request, first_rollout=request.first_rollout + first, num_rollouts=end - first),
        )
        for first, end in pairwise(bounds)
        if end > first
    ]


def _work(request: Request) -> int:
    return len(request.prompt) + request.num_rollouts * request.max_new_tokens
