"""Every intermediate value of one rollout, row by row, as one party computed it.

Parts: `Question` (what both parties computed), `Trace`, `traced`. The network is the engine's; what is
written down is what goes into and comes out of its arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Product
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.hashing import Row, Tree, row_bytes, row_tree
from archipel.engine.exact.projection import ExactProjection, sigmoid_linear
from archipel.engine.exact.rows import Rows, cut
from archipel.engine.exact.steps import Step, steps_of
from archipel.engine.exact.variants import VARIANTS, Variant
from archipel.engine.fused import FusedDecoder
from archipel.engine.noise import uniforms
from archipel.engine.sampler import Draw
from archipel.model.config import DecoderConfig
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.requests import MAX_TEMPERATURE

MAX_POSITIONS = 4096
"""Prompt and completion together, of which everything is kept."""


class BadQuestion(ValueError):
    """What two parties are to have computed cannot be computed."""


@dataclass(frozen=True)
class Question:
    """One rollout, and all that decides it."""

    contract: str
    weights: str
    """State digest of the version."""
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    """The completion as it was recorded."""
    seed: int
    rollout: int
    temperature: float

    @cached_property
    def digest(self) -> str:
        """Names it."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told |= {"seed": str(self.seed), "temperature": self.temperature.hex()}
        return sha256_digest(canonical_json(_listed(told)))

    @property
    def fed(self) -> tuple[int, ...]:
        """The tokens that are read, one for each position."""
        return (*self.prompt, *self.tokens[:-1])

    @property
    def variant(self) -> Variant:
        """The one that the contract names.

        Raises:
            BadQuestion: this version computes no such contract.
        """
        known = {variant.identity: variant for variant in VARIANTS.values()}
        if self.contract not in known:
            raise BadQuestion(
                f"contract is {self.contract!r:.60}; this version computes {', '.join(known)}"
            )
        return known[self.contract]

    def check(self, config: DecoderConfig) -> None:
        """Refuse what this model cannot have computed.

        Raises:
            BadQuestion: says what.
        """
        longest = min(MAX_POSITIONS, config.max_position_embeddings)
        num, last = len(self.prompt), config.vocab_size - 1
        if not self.prompt or not self.tokens or len(self.fed) > longest:
            raise BadQuestion(
                f"{num} tokens of prompt and {len(self.tokens)} of completion; expected both, and at most "
                f"{longest} that are read: all but the last"
            )
        tokens = (*self.prompt, *self.tokens)
        for what, number, most in (
            ("its smallest token", min(tokens), last), ("its largest token", max(tokens), last),
            ("seed", self.seed, 2**64 - 1), ("rollout", self.rollout, 2**32 - 1),
        ):  # fmt: skip
            if not 0 <= number <= most:
                raise BadQuestion(f"{what} is {number!s:.40}; expected 0 to {most}")
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise BadQuestion(f"temperature is {self.temperature}; expected 0 to {MAX_TEMPERATURE}")

    def draw(self, position: int) -> Draw:
        """How the token after this position is sampled."""
        place = position - len(self.prompt) + 1
        seeds, rollouts = np.array([self.seed], np.uint64), np.array([self.rollout], np.uint64)
        uniform = uniforms(seeds, rollouts, place + 1)[:, place:]
        temperature = np.float32(self.temperature)
        greedy = bool(temperature == 0)
        return Draw(
            torch.from_numpy(np.ascontiguousarray(uniform)),
            torch.tensor([[1.0 if greedy else float(temperature)]]),
            torch.tensor([[True]]) if greedy else None,
        )


@dataclass(frozen=True)
class Trace:
    """What one party holds: a matrix (positions, width) for each step."""

    config: DecoderConfig
    question: Question
    values: tuple[Row, ...]
    """Of a late step, only the rows from the last token of the prompt on."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Of the model."""
        return steps_of(self.config)

    def row(self, leaf: int) -> bytes:
        """The row of leaf number `leaf`: position after position, step after step."""
        position, number = divmod(leaf, len(self.steps))
        at = position - (len(self.question.prompt) - 1 if self.steps[number].late else 0)
        return row_bytes(self.values[number][at]) if at >= 0 else b""

    def tree(self) -> Tree:
        """Over all rows."""
        leaves = range(len(self.question.fed) * len(self.steps))
        return Tree([row_tree(self.row(leaf)).root for leaf in leaves])


@torch.inference_mode()
def traced(config: DecoderConfig, state: Mapping[str, Tensor], question: Question) -> Trace:
    """Compute the question once more, and write everything down.

    Raises:
        BadQuestion: it is none for this model.
        WrongWeights: the weights are not those of the architecture, or no bf16 numbers.
    """
    question.check(config)
    numbers = _Witness(config, question.variant, torch.device("cpu"))
    decoder = FusedDecoder(config, state, numbers)
    fed, first = question.fed, len(question.prompt) - 1
    attention = _Attention(numbers, len(fed))
    x = decoder.forward(torch.tensor(fed), numbers.rotations(len(fed)), attention.attend)
    logits = decoder.logits(x[first:])
    numbers.saw(_sampled(numbers, question, logits))
    return Trace(config, question, tuple(numbers.seen))


def _sampled(numbers: ExactArithmetic, question: Question, logits: Tensor) -> Tensor:
    """Token and log-probability (N, 2) at each place of the completion."""
    first, rows = len(question.prompt) - 1, []
    for place in range(len(question.tokens)):
        chosen = numbers.sample(logits[place : place + 1], question.draw(first + place))
        rows.append(torch.stack([each.float() for each in chosen], -1))
    return torch.cat(rows)


class _Witness(ExactArithmetic):
    """Writes down what the network is made of, in the order of `steps_of`."""

    def __init__(self, config: DecoderConfig, variant: Variant, device: torch.device) -> None:
        super().__init__(config, variant, device)
        self.seen: list[Row] = []

    def saw(self, x: Tensor) -> None:
        """One step's rows."""
        self.seen.append(x.clone().numpy())

    def saw_rows(self, rows: Rows) -> None:
        """Integers, then their scale."""
        self.saw(torch.cat((rows.q, rows.scale), -1))

    def fed(self, x: Tensor, norm: Tensor | None) -> Rows:
        """As always."""
        rows = super().fed(x, norm)
        self.saw(x)
        self.saw_rows(rows)
        return rows

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """As always."""
        return _WitnessedProduct(self, ExactProjection(weight, bias, self.variant))


class _WitnessedProduct:
    def __init__(self, witness: _Witness, inner: ExactProjection) -> None:
        self._witness, self._inner = witness, inner

    def __call__(self, x: Any) -> Tensor:
        if not isinstance(x, Rows):
            x = cut(x, self._witness.variant)
            self._witness.saw_rows(x)
        y = self._inner(x)
        self._witness.saw(y)
        return y

    def silu(self, x: Any) -> Tensor:
        return sigmoid_linear(self(x))

    def plus(self, x: Any, other: Tensor) -> Tensor:
        return self(x).add_(other)

    def times(self, x: Any, other: Tensor) -> Tensor:
        return self(x).mul_(other)


class _Attention:
    """Over the whole sequence at once, some queries at a time."""

    def __init__(self, numbers: _Witness, length: int) -> None:
        self._numbers = numbers
        columns = torch.arange(length)
        self._bias = torch.where(columns[None] <= columns[:, None], 0.0, -torch.inf)
        self._bias = self._bias.to(numbers.dtype)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `fused.Attend`."""
        del layer
        self._numbers.saw(seen_rows(self._numbers, q, k, v))
        held = self._numbers.held(k, v)
        parts = [
            attended(
                self._numbers, q[at : at + 1], [part[: at + 1] for part in held], self._bias[at]
            )
            for at in range(q.shape[0])
        ]
        mixed = torch.cat(parts)
        self._numbers.saw(mixed)
        return mixed


def seen_rows(numbers: ExactArithmetic, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Rows of step `seen` (N, width): for queries, keys and values their integers, then their scales."""
    parts = (*numbers.cut_keys(q), *numbers.held(k, v))
    return torch.cat([part.float().flatten(1) for part in parts], -1)


def attended(numbers: ExactArithmetic, q: Tensor, held: list[Tensor], bias: Tensor) -> Tensor:
    """One position's queries (1, Hq, D) over what is held (L, Hkv, width) -> (1, Hq * D)."""
    config = numbers.config
    group = config.num_heads // config.num_kv_heads
    key, key_scale, value, value_scale = (part.transpose(0, 1) for part in held)
    planes = (key.transpose(1, 2), key_scale.transpose(1, 2), value, value_scale.transpose(1, 2))
    query = q.reshape(config.num_kv_heads, group, config.head_dim)
    return numbers.attend(query, planes, bias[: key.shape[1]]).reshape(1, -1)


def _listed(told: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in told.items()}
