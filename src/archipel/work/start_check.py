"""Where engine and trainer are held against each other before a run goes on: opening, version 0, a node's first work.

Parts: `at_start` (the sampling engine of an average node, for who opens or trains), `Engines` (what this node
samples with). Law: a mismatch is told with its figures, by whom it concerns: at a node it is that machine's
fault, everywhere else the run's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from archipel.engine.protocol import Sampler
from archipel.model.adapter import Adapter
from archipel.model.backends import AnyConfig
from archipel.model.devices import devices_like, free_bytes_on
from archipel.model.stock_config import StockConfig
from archipel.planning.laws.holding import RUNTIME
from archipel.records.requests import Request
from archipel.training.scorer import Scorer
from archipel.work.agreement import (
    FLOATS,
    Comparison,
    compared,
    reference,
    short_requests,
    tolerance_of,
)
from archipel.work.engines import config_here, device_of, our_engine, stock_engine
from archipel.work.kind import Context, EngineChoice, MachineUnfit, WorkFailed
from archipel.work.policies import Policy
from archipel.work.recent import Recent
from archipel.work.room import free_bytes, node_need, shortage
from archipel.work.seats import WithAdapter, keeps_apart

logger = logging.getLogger("archipel.work.start_check")

ADAPTER = "start"
TIMES = 2
"""Of each run at a node: the first weights, and the first that were loaded in their place."""
DEFAULT = EngineChoice()
FLAWED = "this software, or the library, does not compute {family} with these settings rightly: leave this model out and report it"
TOO_ROUGH = "take a finer variant of the exact contract (`archipel exact check`), or any engine"
TOO_LARGE = "engine and trainer are not compared: {millions:.0f} million parameters are too many to do so in passing"


@dataclass(frozen=True)
class Subject:
    """The model whose engine and network are compared."""

    config: AnyConfig
    state: Mapping[str, Tensor]
    """Weights; under an adapter those of its base."""
    adapter: Adapter | None = None
    scorer: Scorer | None = None
    """The trainer's own, which holds all this; None: a network made of it."""


def at_start(
    subject: Subject, contract: str | None, requests: Sequence[Request]
) -> Comparison | None:
    """Compare our engine with the trainer's network on the run's first requests, which share a temperature.

    By an exact contract, under an adapter only the base is compared: it samples from merged weights.
    None if the model is too large for it, which is logged.

    Raises:
        WorkFailed: they do not compute the same model, with figures.
    """
    short = short_requests(requests, num_parameters(subject.state))
    if not short:
        logger.info(TOO_LARGE.format(millions=num_parameters(subject.state) / 1e6))
        return None
    if contract is not None and subject.adapter is not None:
        subject = Subject(subject.config, subject.state)
    temperature = short[0].temperature
    scorer = subject.scorer
    if scorer is None:
        scorer = reference(subject.config, subject.state, temperature, subject.adapter, short[0])
    found = compared(_sampler(subject, contract), scorer, short)
    tolerance = tolerance_of(DEFAULT, contract)
    if scorer.computes_bfloat16:
        tolerance = tolerance + FLOATS["bfloat16"]
    if fault := found.fault(tolerance, temperature):
        raise WorkFailed(
            f"what nodes would sample is not what the trainer learns from: {fault}; "
            + (TOO_ROUGH if contract is not None else FLAWED.format(family=subject.config.family))
        )
    return found


def _sampler(subject: Subject, contract: str | None) -> Sampler:
    if isinstance(subject.config, StockConfig):
        theirs = stock_engine(subject.config)
        theirs.load(subject.state)
        return theirs
    engine = our_engine(subject.config, contract)
    engine.load(subject.state)
    if subject.adapter is None:
        return engine
    engine.adapt(ADAPTER, subject.adapter)
    return WithAdapter(engine, ADAPTER)


class Engines:
    """What this machine samples with, held against the network before it answers for a run."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._checked: Recent[Path, tuple[str, ...]] = Recent()
        """Digests of the weights looked at, by the run's model directory."""

    def require_room(self, context: Context, requests: Sequence[Request]) -> None:
        """Before anything of a run is loaded for the first time: weights, cache and all.

        Raises:
            MachineUnfit: this machine has less memory than `requests` need.
        """
        if context.model in self._checked or self._choice.name == "vllm":
            return
        sequences = sum(request.num_rollouts for request in requests)
        length = max(len(request.prompt) + request.max_new_tokens for request in requests)
        need = node_need(config_here(context), sequences, length, self._choice.dtype)
        there = free_bytes_on(device_of(self._choice))
        free, held = (free_bytes(), RUNTIME) if there is None else (there, 0)
        engines, what = self._choice.engines, "sampling this run"
        if engines > 1 and free is not None:
            beside = (
                engines if there is None else -(-engines // len(devices_like(self._choice.device)))
            )
            free, held = (free + held) // beside, 0
            what = f"each of {engines} engines"
        if short := shortage(what, need, free, held):
            raise MachineUnfit(short)

    def require(
        self, engine: Sampler, policy: Policy, context: Context, requests: Sequence[Request]
    ) -> None:
        """Look, unless this run was looked at.

        Raises:
            MachineUnfit: this machine's engine does not compute the run's model.
        """
        digest, before = policy.manifest.state, self._checked.get(context.model) or ()
        if digest in before or len(before) >= TIMES:
            return
        ground = policy.ground
        count = num_parameters(policy.state if ground is None else ground.base.state)
        if short := short_requests(requests, count):
            self._compare(engine, policy, context, short)
        else:
            logger.info(TOO_LARGE.format(millions=count / 1e6))
        self._checked.put(context.model, (*before, digest))

    def _name(self, context: Context) -> str:
        own = self._choice.name == "archipel"
        return context.backend if own else self._choice.name

    def _compare(
        self, engine: Sampler, policy: Policy, context: Context, short: Sequence[Request]
    ) -> None:
        temperature = short[0].temperature
        config, ground = config_here(context), policy.ground
        if ground is not None and keeps_apart(self._choice, context.contract):
            scorer = reference(config, ground.base.state, temperature, policy.adapter, short[0])
        else:
            scorer = reference(config, policy.whole(), temperature, like=short[0])
        found = compared(engine, scorer, short)
        fault = found.fault(tolerance_of(self._choice, context.contract), temperature)
        if fault:
            raise MachineUnfit(
                f"engine {self._name(context)} does not compute this run's model here: {fault}; update the "
                "software, or take another --engine, --dtype or --device"
            )


def num_parameters(state: Mapping[str, Tensor]) -> int:
    """Numbers in all tensors; a tied head counts once."""
    return sum(weight.numel() for weight in state.values())
