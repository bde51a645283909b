"""The work that `bench door` measures, and two ways to do it: many adapters over one base, and one by plain torch.

Parts: `Work`, `config_of`, `form_of`, `Step`, `operations_of` (a tenant's own part of one), `Company` (`training.tenants`), `Plain`.
Law: weights and tokens are random and follow from numbers; neither time nor memory hangs on what is learned.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from archipel.model.adapter import adapt, trained
from archipel.model.config import DecoderConfig
from archipel.model.network import causal_attention, random_weights
from archipel.records.adapter import MICRO, TARGETS, AdapterForm
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Refused,
    Scored,
)
from archipel.training.tenants.tenants import Tenants, TenantTurn

MODELS = ("tiny", "100m", "135m")
OURS, PLAIN = "one base", "plain torch"
OPTIMISER = OptimStep(1e-4)
_LONGEST = 512


@dataclass(frozen=True)
class Work:
    """What one process does again and again."""

    way: str
    model: str
    rank: int
    first: int
    """Number of its first tenant."""
    tenants: int
    sequences: int
    """Of a tenant's step."""
    threads: int


def config_of(name: str) -> DecoderConfig:
    """Of `tiny`, `100m` (a Llama of 110 million weights), or `135m` (the shape of SmolLM2-135M)."""
    if name == "tiny":
        return DecoderConfig("llama", 512, 64, 2, 4, 2, 16, 192, _LONGEST)
    if name == "100m":
        return DecoderConfig("llama", 32000, 768, 12, 12, 12, 64, 2048, _LONGEST)
    if name == "135m":
        return DecoderConfig("llama", 49152, 576, 30, 9, 3, 64, 1536, _LONGEST)
    raise ValueError(f"no model is called {name!r:.40}; expected one of {', '.join(MODELS)}")


def form_of(rank: int) -> AdapterForm:
    """Beside every linear layer, as the protocol's clients ask by default but for the head."""
    return AdapterForm(rank=rank, alpha_micro=32 * MICRO, targets=TARGETS, rank_stabilised=False)


@dataclass(frozen=True)
class Step:
    """One step of every tenant."""

    number: int
    length: int
    """Tokens of each sequence."""


def data_of(work: Work, tenant: int, step: Step) -> tuple[Datum, ...]:
    """Random tokens that follow from tenant and step."""
    drawn = np.random.default_rng((tenant, step.number, step.length))
    shape = (work.sequences, step.length + 1)
    rows = drawn.integers(0, config_of(work.model).vocab_size, shape)
    return tuple(
        Datum(
            row[:-1].astype(np.int32),
            {
                "target_tokens": row[1:].astype(np.int64),
                "weights": np.ones(step.length, np.float32),
            },
        )
        for row in rows
    )


def operations_of(work: Work, tenant: int, step: Step) -> tuple[Operation, ...]:
    """A forward and backward pass over its data, and a step of the optimiser."""
    return ForwardBackward(data_of(work, tenant, step), "cross_entropy"), OPTIMISER


class Side(Protocol):
    """One way to do it."""

    def step(self, step: Step) -> float:
        """Of every tenant; the first one's loss."""

    def digest(self) -> str:
        """Of the first tenant's weights."""


class Company:
    """All tenants over one base, in one pass as far as they fit."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tenants = Tenants(random_weights(config_of(work.model), 0))
        numbers = range(work.first, work.first + work.tenants)
        self._states = {each: self._tenants.create(form_of(work.rank), each) for each in numbers}

    def step(self, step: Step) -> float:
        """See `Side`.

        Raises:
            RuntimeError: an operation was refused.
        """
        turns = [
            TenantTurn(state, operations_of(self._work, tenant, step))
            for tenant, state in self._states.items()
        ]
        outcomes = self._tenants.run(turns)
        for outcome in (each for turn in outcomes for each in turn):
            if isinstance(outcome, Refused):
                raise RuntimeError(f"a tenant was refused: {outcome.reason}")  # noqa: TRY004  a value, not a wrong type
        return next(each.metrics["loss:sum"] for each in outcomes[0] if isinstance(each, Scored))

    def digest(self) -> str:
        """See `Side`."""
        masters = self._states[self._work.first].masters.numpy()
        return hashlib.sha256(masters.tobytes()).hexdigest()


class Plain:
    """One tenant by torch's own ways: its sequences as a batch, autograd, `torch.optim.AdamW`, the base frozen."""

    def __init__(self, work: Work) -> None:
        if work.tenants != 1:
            raise ValueError(f"{work.tenants} tenants of plain torch; expected a process for each")
        self._work = work
        self._network = random_weights(config_of(work.model), 0)
        adapt(self._network, form_of(work.rank), work.first)
        self._weights = trained(self._network)
        self._optimiser = torch.optim.AdamW(
            self._weights.values(),
            lr=OPTIMISER.learning_rate,
            betas=(OPTIMISER.beta1, OPTIMISER.beta2),
            eps=OPTIMISER.epsilon,
            weight_decay=OPTIMISER.weight_decay,
        )

    def step(self, step: Step) -> float:
        """See `Side`."""
        data = data_of(self._work, self._work.first, step)
        tokens_BT = torch.from_numpy(np.stack([each.tokens_T for each in data]).astype(np.int64))
        targets_BT = torch.from_numpy(np.stack([each.inputs["target_tokens"] for each in data]))
        positions_BT = torch.arange(step.length).expand_as(tokens_BT)
        hidden = self._network(tokens_BT, positions_BT, causal_attention)
        logits = self._network.logits(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten(), reduction="sum")
        loss.backward()
        self._optimiser.step()
        self._optimiser.zero_grad()
        return float(loss.detach())

    def digest(self) -> str:
        """See `Side`."""
        found = hashlib.sha256()
        for _, weight in sorted(self._weights.items()):
            found.update(weight.detach().numpy().tobytes())
        return found.hexdigest()


def side_of(work: Work) -> Side:
    """The way that this work names."""
    return Company(work) if work.way == OURS else Plain(work)
