"""Ways to cheat at sampling, each a function from what was asked to what is answered; used against real labs and audits.

Parts: `Forger` (what a cheat has: an engine and every version's weights that it was given) and `CHEATS` (one line or
three each). Law: a cheat sees what a node sees, so no more than requests, weights and its own engine.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from archipel.bench.exact_cheats import int8_weights
from archipel.engine.protocol import Engine
from archipel.engine.toploc import bits_of, prove
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

State = Mapping[str, Tensor]
WIDTH = 64
"""Of made-up activations."""
Groups = list[tuple[Rollout, ...]]
_LATER = 1 << 20
"""Added to a seed: noise that nobody asked for."""
_NEXT_TO_IMPOSSIBLE = -18.0
"""Nats; inside of what losses clamp log ratios to, so that it counts (`training.losses.MAX_LOG_RATIO`)."""


@dataclass(frozen=True)
class Forger:
    """A dishonest node's own means."""

    engine: Engine
    """Holds the newest weights, and does again after every call."""
    states: Sequence[State]
    """Weights of every version it was given, the newest last."""

    def sampled(self, requests: Sequence[Request], state: State | None = None) -> Groups:
        """What the engine gives; by other weights if some are given."""
        if state is None:
            return self.engine.generate(requests)
        self.engine.load(state)
        try:
            return self.engine.generate(requests)
        finally:
            self.engine.load(self.states[-1])

    def older(self, versions: int) -> State:
        """The weights so many versions ago, or the oldest it was given."""
        return self.states[max(0, len(self.states) - 1 - versions)]

    def altered(self, change: Callable[[Tensor], Tensor]) -> State:
        """The newest weights with every matrix changed."""
        return {
            name: change(weight.float()).bfloat16() if weight.dim() == 2 else weight
            for name, weight in self.states[-1].items()
        }


Cheat = Callable[[Forger, Sequence[Request]], Groups]


def _noise(weight: Tensor, rank: int | None = None) -> Tensor:
    """Random numbers as spread as the matrix is; of a low rank if one is given."""
    draw = torch.Generator().manual_seed(weight.numel())
    rows, columns = weight.shape
    if rank is None:
        return torch.randn(rows, columns, generator=draw) * weight.std()
    left, right = (
        torch.randn(rows, rank, generator=draw),
        torch.randn(rank, columns, generator=draw),
    )
    return left @ right * weight.std() / math.sqrt(rank)


def _int4(weight: Tensor) -> Tensor:
    step = weight.abs().amax(1, keepdim=True).clamp_min(1e-30) / 7
    return (weight / step).round() * step


def _each(groups: Groups, change: Callable[[Rollout], Rollout]) -> Groups:
    return [tuple(change(one) for one in group) for group in groups]


def _warmer(requests: Sequence[Request], times: float) -> list[Request]:
    return [replace(each, temperature=each.temperature * times) for each in requests]


def _own_noise(requests: Sequence[Request], number: int = 1) -> list[Request]:
    return [replace(each, seed=each.seed ^ (_LATER + number)) for each in requests]


def _best(forger: Forger, requests: Sequence[Request]) -> Groups:
    """Of four tries at each rollout, the honest one among them, the likeliest."""
    tries = [forger.sampled(requests)]
    tries += [forger.sampled(_own_noise(requests, number)) for number in range(3)]
    return [
        tuple(max(four, key=lambda one: sum(one.logprobs)) for four in zip(*groups, strict=True))
        for groups in zip(*tries, strict=True)
    ]


def _other_prompt(forger: Forger, requests: Sequence[Request]) -> Groups:
    turned = [replace(each, prompt=(*each.prompt[-1:], *each.prompt[1:])) for each in requests]
    return forger.sampled(turned)


def _edited(forger: Forger, requests: Sequence[Request]) -> Groups:
    """The first token of every group becomes the one that its second rollout began with, or its neighbour."""
    stops = {stop for each in requests for stop in each.stop_tokens}

    def change(group: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
        told = {one.tokens[0] for one in group} - stops - {group[0].tokens[0]}
        other = min(told, default=max(0, group[0].tokens[0] - 1))
        return (replace(group[0], tokens=(other, *group[0].tokens[1:])), *group[1:])

    return [change(group) for group in forger.sampled(requests)]


def _cut(forger: Forger, requests: Sequence[Request]) -> Groups:
    """Stops at half the cap, with a stop token that was not sampled."""
    half = [replace(each, max_new_tokens=max(1, each.max_new_tokens // 2)) for each in requests]

    def ended(one: Rollout, stop: int) -> Rollout:
        if one.finished:
            return one
        tokens, logprobs = (*one.tokens[:-1], stop), one.logprobs
        return replace(one, tokens=tokens, logprobs=logprobs, finished=True)

    pairs = zip(half, forger.sampled(half), strict=True)
    return [tuple(ended(one, each.stop_tokens[0]) for one in group) for each, group in pairs]


def _padded(forger: Forger, requests: Sequence[Request]) -> Groups:
    """Goes on to the cap where it should have ended: more tokens are more work, if nobody looks."""

    def filled(one: Rollout, cap: int) -> Rollout:
        if not one.finished or len(one.tokens) == 1:
            return one
        fill = (one.tokens[0],) * (cap - len(one.tokens) + 1)
        padding = (-1.0,) * (len(fill) - 1)
        return replace(
            one, tokens=one.tokens[:-1] + fill, logprobs=one.logprobs + padding, finished=False
        )

    pairs = zip(requests, forger.sampled(requests), strict=True)
    return [tuple(filled(one, each.max_new_tokens) for one in group) for each, group in pairs]


def _poisoned(one: Rollout) -> Rollout:
    """Tokens as sampled, said to have been next to impossible: who corrects for that unlearns them."""
    return replace(one, logprobs=(_NEXT_TO_IMPOSSIBLE,) * len(one.logprobs))


def _copied(forger: Forger, requests: Sequence[Request]) -> Groups:
    """The first rollout of a group, told for all of it."""
    return [(group[0],) * len(group) for group in forger.sampled(requests)]


def _made_up(one: Rollout) -> Rollout:
    """Fingerprints of activations that nobody had, of the form that a lab takes."""
    draw = np.random.default_rng(len(one.tokens) + one.tokens[0])
    rows = draw.standard_normal((len(one.tokens), WIDTH)).astype(np.float32)
    return replace(one, fingerprints=prove(bits_of(rows)))


def _borrowed(group: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
    """Each rollout with the fingerprints of the next one that is as long."""
    by_length: dict[int, list[Rollout]] = {}
    for one in group:
        by_length.setdefault(len(one.tokens), []).append(one)
    given = {length: [*alike[1:], alike[0]] for length, alike in by_length.items()}
    return tuple(
        replace(one, fingerprints=given[len(one.tokens)].pop(0).fingerprints) for one in group
    )


CHEATS: dict[str, Cheat] = {
    "other weights": lambda f, asked: f.sampled(asked, f.altered(_noise)),
    "1 version old": lambda f, asked: f.sampled(asked, f.older(1)),
    "2 versions old": lambda f, asked: f.sampled(asked, f.older(2)),
    "5 versions old": lambda f, asked: f.sampled(asked, f.older(5)),
    "int8 weights": lambda f, asked: f.sampled(asked, int8_weights(f.states[-1])),
    "int4 weights": lambda f, asked: f.sampled(asked, f.altered(_int4)),
    "low-rank nudge": lambda f, asked: f.sampled(asked, f.altered(lambda w: w + 0.01 * _noise(w, 1))),
    "temperature 1.02": lambda f, asked: f.sampled(_warmer(asked, 1.02)),
    "own noise": lambda f, asked: f.sampled(_own_noise(asked)),
    "best of 4": _best,
    "other prompt": _other_prompt,
    "edited token": _edited,
    "truncated": _cut,
    "padded to the cap": _padded,
    "forged log-probabilities": lambda f, asked: _each(
        f.sampled(asked), lambda one: replace(one, logprobs=(one.logprobs[0] - 0.25, *one.logprobs[1:]))
    ),
    "poisoned log-probabilities": lambda f, asked: _each(f.sampled(asked), _poisoned),
    "copied results": _copied,
}  # fmt: skip

UNDER_FINGERPRINTS: dict[str, Cheat] = {
    "forged fingerprints": lambda f, asked: _each(f.sampled(asked), _made_up),
    "borrowed fingerprints": lambda f, asked: [_borrowed(group) for group in f.sampled(asked)],
}
"""Of runs whose answers bring fingerprints: honest tokens under others. An edited token keeps those of what was sampled."""
