"""A small base with everything of a local door around it, and a trainer that moves adapters in a way that is easy to foresee."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archipel.door.hands import SampleAsked, Weights
from archipel.door.local.adapters import Bounds, InEngine
from archipel.door.local.fitting import Parted
from archipel.door.local.loading import Base
from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.adapter_files import write_adapter
from archipel.model.config import DecoderConfig
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Scored,
    Stepped,
)
from archipel.work.resident import frozen
from engine.engine_models import decoder_of, lively_state, small_config

CONFIG = small_config("qwen3", vocab_size=32, hidden_size=32, num_layers=1, intermediate_size=48)
FORM = AdapterForm(
    rank=2, alpha_micro=8_000_000, targets=("q_proj", "down_proj"), rank_stabilised=False
)
NAME = "tiny/base"
PIECE = 8
PARTED = Parted(10**8, 10**8)
BOUNDS = Bounds(4, 2**20)


def base_of(config: DecoderConfig = CONFIG, bounds: Bounds = BOUNDS) -> Base:
    state = lively_state(config)
    engine = LocalEngine(config, limits=EngineLimits.serving(2**22))
    decoder = frozen(decoder_of(config, state))
    engine.load(dict(decoder.named_parameters()))
    return Base(Path(), config, decoder, engine, InEngine(engine, bounds), None, PARTED)


def lively(seed: int, config: DecoderConfig = CONFIG, form: AdapterForm = FORM) -> Adapter:
    drawn = torch.Generator().manual_seed(seed)
    shapes = adapter_shapes(config, form).items()
    state = {name: (torch.randn(s, generator=drawn) * 0.2).bfloat16() for name, s in shapes}
    return Adapter(form, state)


def written(folder: Path, name: str, adapter: Adapter) -> Weights:
    write_adapter(folder / name, adapter, None)
    return Weights(NAME, folder / name, name)


def asked(
    tenant: str = "a",
    weights: Weights | None = None,
    prompt: Iterable[int] = (1, 2, 3),
    **fields: Any,
) -> SampleAsked:
    plain = SampleAsked(
        weights=weights or Weights(NAME, None, ""),
        tenant=tenant,
        share=1,
        prompt=tuple(prompt),
        num_samples=2,
        max_tokens=6,
        seed=5,
        temperature=1.0,
        top_k=-1,
        top_p=1.0,
        stop_tokens=(),
        stop_strings=(),
        prompt_logprobs=False,
        topk_prompt_logprobs=0,
        topk_sample_logprobs=0,
    )
    return replace(plain, **fields)


def of_tokens(num: int) -> Operation:
    """A step for 0."""
    if not num:
        return OptimStep(1e-2)
    inputs = {"target_tokens": np.zeros(num, dtype=np.int64)}
    return ForwardBackward((Datum(np.zeros(num, dtype=np.int32), inputs),), "cross_entropy")


@dataclass(eq=False)
class PlainState:
    held: Adapter
    steps: int = 0

    def write(self, folder: Path) -> None:
        write_adapter(folder, self.held, None)
        (folder / "steps.json").write_text(json.dumps(self.steps))

    def adapter(self) -> Adapter:
        return self.held


@dataclass(eq=False)
class PlainGoing:
    state: PlainState
    operations: Sequence[Operation]
    outcomes: list[Outcome] = field(default_factory=list)
    rows_left: int = 0
    has_passed: bool = False

    @property
    def at_hand(self) -> Operation | None:
        done = len(self.outcomes)
        return self.operations[done] if done < len(self.operations) else None


@dataclass
class PlainTrainer:
    """A step adds its learning rate to every number."""

    config: DecoderConfig = CONFIG
    passes: list[list[PlainState]] = field(default_factory=list)
    fails: Callable[[Sequence[PlainState]], None] = lambda _: None

    def create(self, form: AdapterForm, seed: int) -> PlainState:
        return PlainState(lively(seed, self.config, form))

    def read(self, folder: Path, form: AdapterForm, *, optimiser: bool) -> PlainState:
        from archipel.model.adapter_files import read_adapter

        adapter, _ = read_adapter(folder, self.config)
        if adapter.form != form:
            raise ValueError(f"an adapter of another form: {adapter.form}")
        steps = json.loads((folder / "steps.json").read_text()) if optimiser else 0
        return PlainState(adapter, steps)

    def begin(self, state: PlainState, operations: Sequence[Operation]) -> PlainGoing:
        return PlainGoing(state, operations)

    def ready(self, going: PlainGoing) -> int:
        while going.rows_left == 0 and going.at_hand is not None:
            if isinstance(going.at_hand, ForwardBackward) and not going.has_passed:
                going.rows_left = sum(len(each.tokens_T) for each in going.at_hand.data)
            else:
                going.outcomes.append(self._one(going.state, going.at_hand))
                going.has_passed = False
        return min(going.rows_left, PIECE)

    def advance(self, chosen: Sequence[PlainGoing]) -> None:
        self.passes.append([each.state for each in chosen])
        self.fails([each.state for each in chosen])
        for each in chosen:
            each.rows_left -= min(each.rows_left, PIECE)
            each.has_passed = each.rows_left == 0

    def _one(self, state: PlainState, operation: Operation) -> Outcome:
        if isinstance(operation, ForwardBackward):
            logprobs = tuple(np.zeros(len(each.tokens_T), np.float32) for each in operation.data)
            return Scored(logprobs, {"loss:sum": 0.0})
        moved = {name: each + operation.learning_rate for name, each in state.held.state.items()}
        state.held, state.steps = Adapter(state.held.form, moved), state.steps + 1
        return Stepped({"steps": float(state.steps)})
