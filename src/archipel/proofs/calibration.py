"""Thresholds from measurements: honest provers and cheats of a given model, checked by this machine.

Of each pair (prover's dtype, verifier's dtype) `pairs` sets limits from one half of the honest answers. A new honest
answer exceeds the largest of n with a chance that is at most 1 - (1 - confidence)^(1/n) (exact binomial), whatever
the distribution. A pair is refused where an answer of a cheat passes that is not left to the sequential test.
Not covered: other machines and kernels than were measured; a prover may only be judged by a record of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from archipel.engine.exact.replay import Recorded
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder
from archipel.proofs.forced import Forcing, statistics
from archipel.proofs.pairs import FLOORS, PLAIN, Figures, pair_of
from archipel.proofs.plan import Plan
from archipel.proofs.printed import printed
from archipel.proofs.provers import Setting, State, answer, one_step_before, rounded
from archipel.proofs.record import LEAST_DRAWN, Pair
from archipel.records.engine_classes import OWN_ENGINE, prover_of
from archipel.records.requests import Request
from archipel.records.seeds import group_seed

CHEATS = ("older", "int8", "int4", "temperature", "noise")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Tell = Callable[[str], None]


class TooThin(ValueError):
    """Answers of which nothing can be said, or too few of them."""


@dataclass(frozen=True)
class Model:
    """What is calibrated."""

    config: DecoderConfig
    state: State
    prompts: Sequence[tuple[int, ...]]
    stop_tokens: tuple[int, ...] = ()
    network: Path | None = None
    """Its directory, where provers sample by the transformers engine; None: by our own."""
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
                setting = self._setting(slots, threads)
                self._gather(honest, self._model.state, setting, "")
        cheats: dict[str, dict[str, list[Figures]]] = {}
        for cheat in CHEATS:
            self._tell(f"{self._dtype}: {cheat}")
            found: dict[str, list[Figures]] = {name: [] for name in plan.dtypes}
            setting = self._setting(max(plan.slots), plan.threads[0])
            self._gather(found, self._weights(cheat), setting, cheat)
            cheats[cheat] = found
        for name in plan.dtypes:
            own = {cheat: found[name] for cheat, found in cheats.items()}
            engine = OWN_ENGINE if self._model.network is None else "transformers"
            yield pair_of(prover_of(engine, self._dtype), name, honest[name], own, plan)

    def _setting(self, slots: int, threads: int) -> Setting:
        return Setting(DTYPES[self._dtype], slots, threads, self._model.network)

    def _gather(
        self, into: dict[str, list[Figures]], state: State, setting: Setting, cheat: str
    ) -> None:
        asked = self._requests()
        for each in answer(self._model.config, state, asked, setting, cheat):
            for name, verifier in self._verifiers.items():
                into[name].append(_figures(verifier, each))

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
        told = list(answer(self._model.config, state, few, setting))
        return one_step_before(_decoder(self._model, torch.float32), told, self._plan.learning_rate)


def _decoder(model: Model, dtype: torch.dtype) -> Decoder:
    decoder = Decoder(model.config)
    decoder.load_state_dict(dict(model.state))
    return decoder.to(dtype)


def _figures(verifier: Forcing, recorded: Recorded) -> Figures:
    """All that an audit sees of one answer; more is worse."""
    checked = verifier.check(recorded)
    found = statistics(checked)
    if found.drawn < LEAST_DRAWN:
        raise TooThin(
            f"the noise decides {found.drawn} of {found.tokens} tokens of an answer; expected {LEAST_DRAWN}: take more "
            "rollouts or tokens"
        )
    prints = printed([recorded], checked)
    return {name: float(getattr(found if name in PLAIN else prints, name)) for name in FLOORS}
