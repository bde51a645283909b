"""Does an answer depend on its company? A probe through everything that a served model does to requests, bit for bit.

`selftest` compares batches that begin together; here requests come while others are read and sampled: long prompts
in pieces, beginnings that are known from before, adapters side by side. Law: measured for the weights, threads and
processor that serve, not assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.engine.noise import random_tokens
from archipel.engine.protocol import OpenEngine, Ticket
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

_PROBE, _LONG, _SHORT = 150, 330, 5
"""Tokens of prompts: over several pieces, over many, within one."""
_NEW = 12
_LEAD = 3
"""Steps that the company is ahead of the probe."""
_NUM_SHORT = 4
_SALT = "steadiness"
MAX_STEPS = 4096


class Unsteady(RuntimeError):
    """Answers depend on what else is being answered; the message says how."""


@dataclass(frozen=True)
class Probe:
    """What is looked at."""

    vocabulary: int
    longest: int
    """Tokens, prompt included, that a request may have."""
    adapters: Sequence[str | None] = (None,)
    """To answer with; None: the weights as they are."""


def check_steady(engine: OpenEngine, probe: Probe, seed: int = 0) -> int:
    """Ask the same alone, again, and in company; how many completions were compared. Nothing else may run meanwhile.

    Raises:
        Unsteady: a token or a log-probability differs.
    """
    compared = 0
    for number, adapter in enumerate(probe.adapters):
        asked = _request(probe, seed + number, _PROBE, adapter, 2)
        alone = _run(engine, [asked], [])
        for how, answers in (
            ("asked again", _run(engine, [asked], [])),
            ("asked in company", _run(engine, [asked], _company(probe, seed))),
        ):
            for one, other in zip(alone, answers, strict=True):
                compared += 1
                _compare(one, other, how, adapter)
    return compared


def _request(
    probe: Probe, seed: int, length: int, adapter: str | None, num_rollouts: int = 1
) -> Request:
    room = max(1, min(length, probe.longest - _NEW))
    return Request(
        key="steadiness",
        prompt=random_tokens(seed, length, room, probe.vocabulary),
        seed=seed,
        num_rollouts=num_rollouts,
        max_new_tokens=max(1, min(_NEW, probe.longest - room)),
        adapter=adapter,
        salt=_SALT,
    )


def _company(probe: Probe, seed: int) -> list[Request]:
    """Of every adapter in turn."""
    lengths = (_LONG, *(_SHORT + each for each in range(_NUM_SHORT)))
    number = len(probe.adapters)
    return [
        _request(probe, seed + 100 + n, length, probe.adapters[n % number])
        for n, length in enumerate(lengths)
    ]


def _run(engine: OpenEngine, asked: Sequence[Request], company: Sequence[Request]) -> list[Rollout]:
    """Half of the company comes before, half after."""
    tickets: list[Ticket] = []
    done: dict[tuple[Ticket, int], Rollout] = {}
    half = (len(company) + 1) // 2
    try:
        tickets += [engine.add(each) for each in company[:half]]
        for _ in range(_LEAD if half else 0):
            done |= engine.step().ended
        wanted = [engine.add(each) for each in asked]
        tickets += wanted
        done |= engine.step().ended
        tickets += [engine.add(each) for each in company[half:]]
        for _ in range(MAX_STEPS):
            if not engine.has_work:
                break
            done |= engine.step().ended
    finally:
        for ticket in tickets:
            engine.cancel(ticket)
    return [
        done[ticket, rollout]
        for ticket, each in zip(wanted, asked, strict=True)
        for rollout in range(each.num_rollouts)
    ]


def _compare(one: Rollout, other: Rollout, how: str, adapter: str | None) -> None:
    if one.tokens == other.tokens and one.logprobs == other.logprobs:
        return
    pairs = zip(one.tokens, other.tokens, one.logprobs, other.logprobs, strict=False)
    first = next((n for n, (a, b, p, q) in enumerate(pairs) if a != b or p != q), 0)
    what = "tokens" if one.tokens != other.tokens else "log-probabilities"
    beside = "" if adapter is None else f" with adapter {adapter!r:.80}"
    raise Unsteady(
        f"the same request{beside} {how} gives other {what}, first at token {first}; on this machine answers depend on "
        "their company: choose --exact, other --weights or another number of --threads, or leave --deterministic out"
    )
