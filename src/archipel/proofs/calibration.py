"""Thresholds from measurements: honest provers and cheats of a given model, checked by this machine.

Of each pair (prover's dtype, verifier's dtype) one half of the honest answers gives every figure its scale, the
other half the limit: the largest score, of which an answer's is its worst figure over its scale. A new honest
answer exceeds the largest of n with a chance that is at most 1 - (1 - confidence)^(1/n) (exact binomial), whatever
the distribution. A pair is refused where an answer of a cheat passes that is not left to the sequential test.
Not covered: other machines and kernels than were measured; a prover may only be judged by a record of its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from archipel.engine.exact.replay import Recorded
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder
from archipel.proofs.binomial import lower, upper
from archipel.proofs.forced import NAMES, Forcing, statistics
from archipel.proofs.provers import Setting, State, answer, one_step_before, rounded
from archipel.proofs.record import LEAST_DRAWN, Caught, Pair, Watch
from archipel.proofs.toploc import distances, prove
from archipel.records.requests import Request
from archipel.records.seeds import group_seed

CHEATS = ("older", "int8", "int4", "temperature", "noise")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FLOORS = {
    "flips": 0.01, "excess_mean": 1e-6, "excess_largest": 1e-5, "logprob_mean": 1e-6, "logprob_largest": 1e-5,
    "logprob_bias": 1e-6, "exponents": 1.0, "mantissas": 0.05,
}  # fmt: skip
"""No scale is smaller: below this a figure is grain (one token, one mantissa's step), not evidence."""
QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)

Figures = dict[str, float]
Tell = Callable[[str], None]


class TooThin(ValueError):
    """Answers of which nothing can be said, or too few of them."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    dtypes: tuple[str, ...] = ("fp32", "bf16")
    slots: tuple[int, ...] = (1, 8, 64)
    threads: tuple[int, ...] = (1, 2)
    groups: int = 20
    """Honest answers of each (dtype, slots, threads), and answers of each cheat."""
    rollouts: int = 8
    """Of an answer."""
    max_new_tokens: int = 32
    temperature: float = 1.0
    confidence: float = 0.95
    headroom: float = 1.5
    """Thresholds are so many times what honest answers reach."""
    learning_rate: float = 1e-4
    """Of the step by which older weights differ, where none are given."""
    sequential: tuple[str, ...] = ()
    """Cheats that single audits need not catch."""
    seed: int = 1


QUICK = Plan(slots=(1, 64), threads=(1,), groups=8, max_new_tokens=24)


@dataclass(frozen=True)
class Model:
    """What is calibrated."""

    config: DecoderConfig
    state: State
    prompts: Sequence[tuple[int, ...]]
    stop_tokens: tuple[int, ...] = ()
    older: State | None = None
    """Weights one version before; None: made by one step (`provers.one_step_before`)."""


def calibrate(model: Model, plan: Plan, tell: Tell) -> Iterator[Pair]:
    """Every pair of dtypes of the plan.

    Raises:
        TooThin: there are no prompts, or the noise decides too few tokens of an answer.
    """
    if not model.prompts or plan.groups * len(plan.slots) * len(plan.threads) < 4:
        raise TooThin("expected at least one prompt and four honest answers of each dtype")
    threads = torch.get_num_threads()
    try:
        for dtype in plan.dtypes:
            yield from _Prover(model, plan, dtype, tell).pairs()
    finally:
        torch.set_num_threads(threads)


class _Prover:
    """One dtype's honest and dishonest answers, as each verifier sees them."""

    def __init__(self, model: Model, plan: Plan, dtype: str, tell: Tell) -> None:
        self._model, self._plan, self._dtype, self._tell = model, plan, dtype, tell
        self._verifiers = {name: Forcing(_decoder(model, DTYPES[name])) for name in plan.dtypes}
        self._asked = 0

    def pairs(self) -> Iterator[Pair]:
        plan = self._plan
        honest: dict[str, list[Figures]] = {name: [] for name in plan.dtypes}
        for threads in plan.threads:
            for slots in plan.slots:
                self._tell(f"{self._dtype}: honest, {slots} side by side, {threads} threads")
                setting = Setting(DTYPES[self._dtype], slots, threads)
                self._gather(honest, self._model.state, setting, "")
        cheats: dict[str, dict[str, list[Figures]]] = {}
        for cheat in CHEATS:
            self._tell(f"{self._dtype}: {cheat}")
            found: dict[str, list[Figures]] = {name: [] for name in plan.dtypes}
            setting = Setting(DTYPES[self._dtype], max(plan.slots), plan.threads[0])
            self._gather(found, self._weights(cheat), setting, cheat)
            cheats[cheat] = found
        for name in plan.dtypes:
            own = {cheat: found[name] for cheat, found in cheats.items()}
            yield pair_of(self._dtype, name, honest[name], own, plan)

    def _gather(
        self, into: dict[str, list[Figures]], state: State, setting: Setting, cheat: str
    ) -> None:
        asked = self._requests()
        for each in answer(self._model.config, state, asked, setting, cheat):
            proofs = prove(each.hidden)
            for name, verifier in self._verifiers.items():
                into[name].append(_figures(verifier, each.recorded, proofs))

    def _requests(self) -> list[Request]:
        plan, prompts = self._plan, self._model.prompts
        first, self._asked = self._asked, self._asked + plan.groups
        return [
            Request(
                key=str(number),
                prompt=prompts[number % len(prompts)],
                seed=group_seed(plan.seed, number),
                num_rollouts=plan.rollouts,
                max_new_tokens=plan.max_new_tokens,
                temperature=plan.temperature,
                stop_tokens=self._model.stop_tokens,
            )
            for number in range(first, self._asked)
        ]

    def _weights(self, cheat: str) -> State:
        state = self._model.state
        if cheat in ("int8", "int4"):
            return rounded(state, int(cheat[3:]))
        if cheat != "older":
            return state
        if self._model.older is not None:
            return self._model.older
        setting = Setting(torch.float32, max(self._plan.slots), 1)
        few = self._requests()[:4]
        told = [each.recorded for each in answer(self._model.config, state, few, setting)]
        return one_step_before(_decoder(self._model, torch.float32), told, self._plan.learning_rate)


def _decoder(model: Model, dtype: torch.dtype) -> Decoder:
    decoder = Decoder(model.config)
    decoder.load_state_dict(dict(model.state))
    return decoder.to(dtype)


def _figures(verifier: Forcing, recorded: Recorded, proofs: Sequence[bytes]) -> Figures:
    """All that an audit sees of one answer; more is worse."""
    checked = verifier.check(recorded)
    found = statistics(checked)
    if found.drawn < LEAST_DRAWN:
        raise TooThin(
            f"the noise decides {found.drawn} of {found.tokens} tokens of an answer; expected {LEAST_DRAWN}: take more "
            "rollouts or tokens"
        )
    figures: Figures = {name: float(getattr(found, name)) for name in NAMES}
    apart = distances(proofs, np.concatenate([each.hidden for each in checked]))
    figures["exponents"] = float(max(each.exponents for each in apart))
    # Where not one exponent is the same, all of a mantissa's range.
    figures["mantissas"] = min(128.0, max(each.mean for each in apart))
    return figures


def pair_of(
    prover: str,
    verifier: str,
    honest: Sequence[Figures],
    cheats: Mapping[str, Sequence[Figures]],
    plan: Plan,
) -> Pair:
    """Thresholds of one pair, or its refusal. Pure."""
    fit, rest = honest[::2], honest[1::2]
    scales = {name: max(FLOORS[name], *(each[name] for each in fit)) for name in FLOORS}
    limit = max(max(each[name] / scales[name] for name in scales) for each in rest)
    thresholds = {name: scale * limit * plan.headroom for name, scale in scales.items()}
    caught = {name: _caught(found, thresholds, plan) for name, found in cheats.items()}
    overlaps = tuple(name for name, each in caught.items() if each.caught < each.answers)
    usable = set(overlaps) <= set(plan.sequential)
    watched = {name: _watch(fit, rest, cheats[name], plan) for name in overlaps}
    return Pair(
        prover=prover,
        verifier=verifier,
        honest=len(honest),
        usable=usable,
        thresholds=thresholds if usable else {},
        false_at_most=upper(0, len(rest), plan.confidence),
        cheats=caught,
        overlaps=overlaps,
        watched={name: each for name, each in watched.items() if each is not None},
    )


def _caught(found: Sequence[Figures], thresholds: Figures, plan: Plan) -> Caught:
    over = [[name for name, most in thresholds.items() if each[name] > most] for each in found]
    caught = sum(1 for each in over if each)
    by = {name: sum(name in each for each in over) for name in thresholds}
    return Caught(
        answers=len(found),
        caught=caught,
        at_least=lower(caught, len(found), plan.confidence),
        by={name: count for name, count in by.items() if count},
    )


def _watch(
    fit: Sequence[Figures], rest: Sequence[Figures], cheat: Sequence[Figures], plan: Plan
) -> Watch | None:
    """The figure and border that tell most, chosen by one half, with honest's rate from the other; None: none does."""
    best: tuple[float, str, float] | None = None
    for name in FLOORS:
        for quantile in QUANTILES:
            border = float(np.quantile([each[name] for each in fit], quantile))
            told = _information(
                upper(_over(fit, name, border), len(fit), plan.confidence),
                lower(_over(cheat, name, border), len(cheat), plan.confidence),
            )
            if best is None or told > best[0]:
                best = (told, name, border)
    if best is None:
        return None
    _, name, border = best
    honest = upper(_over(rest, name, border), len(rest), plan.confidence)
    odd = lower(_over(cheat, name, border), len(cheat), plan.confidence)
    if odd <= honest:
        return None
    return Watch(figure=name, border=border, honest=honest, cheat=odd)


def _over(answers: Sequence[Figures], name: str, border: float) -> int:
    return sum(each[name] > border for each in answers)


def _information(honest: float, cheat: float) -> float:
    """Nats that one answer of the cheat gives against honesty on average; 0 where the rates are in the wrong order."""
    if not 0 < honest < cheat < 1:
        return 0.0
    return cheat * math.log(cheat / honest) + (1 - cheat) * math.log((1 - cheat) / (1 - honest))
