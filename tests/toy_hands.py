"""Hands that train nothing and are exact about it: a state of eight numbers, moved by what the operations say.

Law: what comes of a turn hangs on the state and the operations alone, to the bit; `num_trained` tells how often they were asked.
"""

import asyncio
import hashlib
import json
from pathlib import Path

import numpy as np

from archipel.door.hands import (
    CannotDo,
    Completion,
    HandsLost,
    ModelForm,
    SampleAsked,
    Sampled,
    ServedModel,
    Turn,
    TurnDone,
)
from archipel.training.tenants.operations import (
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)

BASE = "toy/base"
VOCAB, CONTEXT = 64, 128
STATE = "state.json"
REFUSED_TOKEN = 63
"""A datum that begins with it is refused, as one whose numbers are not finite would be."""


class ToyState:
    def __init__(self, seed: int) -> None:
        self.weights = np.random.default_rng(seed).normal(size=8)
        self.moments, self.gradient = np.zeros(8), np.zeros(8)

    def write(self, folder: Path) -> None:
        folder.mkdir()
        told = {name: [x.hex() for x in array.tolist()] for name, array in vars(self).items()}
        (folder / STATE).write_text(json.dumps(told))

    @classmethod
    def read(cls, folder: Path) -> "ToyState":
        state = cls(0)
        for name, values in json.loads((folder / STATE).read_text()).items():
            setattr(state, name, np.array([float.fromhex(x) for x in values]))
        return state

    def do(self, operation: Operation) -> Outcome:
        if isinstance(operation, OptimStep):
            self.moments = operation.beta1 * self.moments + self.gradient
            self.weights = self.weights - operation.learning_rate * np.tanh(self.moments)
            self.gradient = np.zeros(8)
            return Stepped({"norm:mean": float(np.abs(self.moments).sum())})
        return self._score(operation)

    def _score(self, asked: ForwardBackward) -> Outcome:
        if any(int(datum.tokens_T[0]) == REFUSED_TOKEN for datum in asked.data):
            return Refused("a number is not finite")
        rows, gradient = [], self.gradient.copy()
        for datum in asked.data:
            features = np.sin(np.outer(datum.tokens_T + 1.0, np.arange(1, 9)))
            logprobs = -np.abs(features @ self.weights).astype(np.float32)
            shift = datum.inputs.get("logprobs", np.zeros_like(logprobs))
            gradient += ((logprobs - shift)[:, None] * features).sum(0)
            rows.append(logprobs)
        if not asked.forward_only:
            self.gradient = gradient
        return Scored(tuple(rows), {"loss:sum": float(sum(-each.sum() for each in rows))})


class ToyHands:
    def __init__(self, delay_s: float = 0.0) -> None:
        self.states: dict[str, ToyState] = {}
        self.delay_s = delay_s
        self.num_trained = self.lose = 0
        self.turns: list[int] = []
        self.sampled: list[SampleAsked] = []
        self.gate: asyncio.Event | None = None

    def models(self) -> list[ServedModel]:
        return [ServedModel(BASE, CONTEXT, VOCAB, BASE, "toy")]

    async def create(self, model: str, form: ModelForm) -> None:
        if form.form.rank > 32:
            raise CannotDo(f"rank {form.form.rank} does not fit this machine")
        self.states[model] = ToyState(form.seed)

    async def restore(self, model: str, form: ModelForm, kept: Path, optimiser: bool) -> None:
        state = ToyState.read(kept)
        if not optimiser:
            state.moments, state.gradient = np.zeros(8), np.zeros(8)
        self.states[model] = state

    async def forget(self, model: str) -> None:
        self.states.pop(model, None)

    async def train(self, turn: Turn) -> TurnDone:
        state = self._held(turn.model)
        await asyncio.sleep(self.delay_s)
        if self.gate is not None:
            await self.gate.wait()
        self.num_trained += len(turn.operations)
        self.turns.append(len(turn.operations))
        outcomes = tuple(map(state.do, turn.operations))
        if self.lose:  # after the state has moved: nothing of it may count
            self.lose -= 1
            self.states.pop(turn.model)
            raise HandsLost("the machine went away")
        return TurnDone(outcomes, 10 * len(turn.operations))

    async def keep(self, model: str, folder: Path) -> None:
        self._held(model).write(folder)

    async def publish(self, model: str, folder: Path) -> None:
        folder.mkdir()  # noqa: ASYNC240  a toy's few bytes
        adapter = self._held(model).weights.tobytes().hex()
        (folder / "adapter_model.safetensors").write_text(adapter)

    async def sample(self, asked: SampleAsked) -> Sampled:
        self.sampled.append(asked)
        await asyncio.sleep(self.delay_s)
        adapter = asked.weights.adapter
        weights = "" if adapter is None else (adapter / "adapter_model.safetensors").read_text()
        made = []
        for number in range(asked.num_samples):
            said = f"{weights}{asked.seed}{asked.prompt}{number}".encode()
            noise = hashlib.sha256(said).digest()[: asked.max_tokens]
            tokens = tuple(each % 60 for each in noise)
            logprobs = tuple(float(np.float32(-each / 300)) for each in noise)
            made.append(Completion(tokens, logprobs, "length", None))
        scores = np.linspace(-1, -2, len(asked.prompt), dtype=np.float32)
        return Sampled(tuple(made), scores if asked.prompt_logprobs else None, None, None, 7)

    def _held(self, model: str) -> ToyState:
        if model not in self.states:
            raise HandsLost("not held")
        return self.states[model]
