"""Recorded rollouts, recomputed by the exact contract and compared: equal, or where they first differ.

An audit without a threshold: whoever followed the contract recorded these bits, whatever the machine,
its company and its threads were. Parts: `Recorded`, `Difference`, `Replayed`, `Replayer`, `first_ending`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.capacity import Capacity, EngineLimits
from archipel.engine.exact.forcing import Line, batches, force
from archipel.engine.fused import FusedDecoder
from archipel.engine.noise import uniforms
from archipel.engine.protocol import NotLoaded
from archipel.engine.sampler import Draw
from archipel.records.episodes import SAMPLED, turns_of
from archipel.records.requests import ENDED, InvalidRequest, Request
from archipel.records.rollouts import Rollout
from archipel.records.samples import samples_of

What = Literal["token", "log-probability", "end"]


@dataclass(frozen=True)
class Recorded:
    """What was asked, and rollouts that came of it, by their number."""

    request: Request
    rollouts: Mapping[int, Rollout]


@dataclass(frozen=True)
class Difference:
    """Where a record first leaves what the contract gives."""

    key: str
    """Of the request."""
    rollout: int
    position: int
    """In the completion, from 0."""
    what: What
    recorded: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"group {self.key}, rollout {self.rollout}, position {self.position}: {self.what} "
            f"{self.recorded} was recorded, {self.recomputed} is right"
        )


@dataclass(frozen=True)
class Replayed:
    """What was recomputed, up to the batch of the first difference, if there is one."""

    rollouts: int
    positions: int
    """Tokens, each with its log-probability."""
    difference: Difference | None


class Replayer:
    """Recomputes what was recorded with weights that it holds."""

    def __init__(self, arithmetic: Arithmetic, limits: EngineLimits | None = None) -> None:
        """`limits` bound the memory of one batch; its slots are rollouts."""
        self._arithmetic, self._limits = arithmetic, limits or EngineLimits()
        self._capacity = Capacity(arithmetic, self._limits)
        self._decoder: FusedDecoder | None = None

    @torch.inference_mode()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a version.

        Raises:
            WrongWeights: they are not those of the architecture, or no bf16 numbers.
        """
        self._decoder = None
        self._decoder = FusedDecoder(self._arithmetic.config, state, self._arithmetic)

    @torch.inference_mode()
    def replay(
        self, recorded: Sequence[Recorded], on_progress: Callable[[int], None] | None = None
    ) -> Replayed:
        """Recompute all of them, in order, until one differs; `on_progress` is told positions so far.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: what is recorded cannot have been asked of this model, or is no answer to it.
        """
        if self._decoder is None:
            raise NotLoaded("there are no weights to recompute with; call load(state) first")
        for each in recorded:
            self._check(each)
        claims = _claims(recorded)
        done = rollouts = positions = 0
        lines = [claim.line for claim in claims]
        for batch in batches(lines, self._decoder, self._limits) if lines else ():
            own = claims[done : done + len(batch)]
            answers = _Answers(self._arithmetic, own)
            force(self._decoder, batch, self._limits, answers.take)
            done += len(batch)
            rollouts += sum(claim.first == 0 for claim in own)
            positions += sum(len(line.tokens) for line in batch)
            if on_progress is not None:
                on_progress(positions)
            first = next(answers.differences(), None)
            if first is not None:
                return Replayed(rollouts, positions, first)
        return Replayed(rollouts, positions, None)

    def _check(self, recorded: Recorded) -> None:
        request = recorded.request
        self._capacity.check(request)
        vocabulary = self._arithmetic.config.vocab_size
        for number, rollout in recorded.rollouts.items():
            tokens = rollout.tokens
            sound = (
                0 <= number < 2**32
                and 1 <= len(tokens) <= request.max_new_tokens
                and len(tokens) == len(rollout.logprobs)
                and len(tokens) == len(tokens if rollout.sampled is None else rollout.sampled)
                and min(tokens) >= 0
                and max(tokens) < vocabulary
            )
            if not sound:
                raise InvalidRequest(
                    f"request {request.key!r:.80}: rollout {number} has {len(tokens)} tokens and "
                    f"{len(rollout.logprobs)} log-probabilities; expected as many of both, 1 to "
                    f"{request.max_new_tokens}, of tokens 0 to {vocabulary - 1}"
                )


def first_ending(recorded: Sequence[Recorded]) -> Difference | None:
    """The first rollout that ends where it should not, or goes on: what no arithmetic excuses."""
    claims = (
        _Claim(group, each.request, number, rollout)
        for group, each in enumerate(recorded)
        for number, rollout in each.rollouts.items()
    )
    return next((found for claim in claims if (found := claim.ending()) is not None), None)


@dataclass(frozen=True)
class _Claim:
    """One recorded rollout, or one sample of an episode whose context was told anew."""

    group: int
    """Claims of one group have the same prompt."""
    request: Request
    number: int
    rollout: Rollout
    first: int = 0
    """Its place in the whole episode."""

    @property
    def line(self) -> Line:
        return Line(self.group, self.request.prompt, self.rollout.tokens)

    def ending(self) -> Difference | None:
        """Where it should have ended, or should not."""
        if self.rollout.sampled is not None:
            return self._turn_endings(self.rollout.sampled)
        tokens, stops = self.rollout.tokens, frozenset(self.request.stop_tokens)
        ends = next((at for at, token in enumerate(tokens) if token in stops), None)
        if (said := self._said()) is not None:
            ends = said if ends is None else min(said, ends)
        stopped, last = ends is not None, len(tokens) - 1
        if ends is not None and ends < last:
            return self.differs(ends, "end", "more after its end", "the end")
        if not stopped and len(tokens) < self.request.max_new_tokens:
            return self.differs(last, "end", "the end without a reason", "another token")
        if stopped != self.rollout.finished:
            told = f"finished {self.rollout.finished}"
            return self.differs(last, "end", told, f"finished {stopped}")
        return None

    def _said(self) -> int | None:
        """The place of the token by which its text ended it."""
        ending, state = self.request.ending, 0
        for at, token in enumerate(() if ending is None else self.rollout.tokens):
            state = state if ending is None else ending.after(state, token)
            if state == ENDED:
                return at
        return None

    def _turn_endings(self, sampled: bytes) -> Difference | None:
        """Of an episode: each turn ends with a stop token, or at the limit. Who has the environment checks the rest."""
        tokens, stops = self.rollout.tokens, frozenset(self.request.stop_tokens)
        for start, end in turns_of(sampled):
            stopped = [at for at in range(start, end) if tokens[at] in stops]
            if stopped and stopped[0] < end - 1:
                return self.differs(stopped[0], "end", "more after a stop token", "the end")
            if not stopped and end < self.request.max_new_tokens:
                return self.differs(end - 1, "end", "the end of a turn", "another token")
        return None

    def differs(self, position: int, what: What, recorded: str, recomputed: str) -> Difference:
        place = self.first + position
        return Difference(self.request.key, self.number, place, what, recorded, recomputed)


def _claims(recorded: Sequence[Recorded]) -> list[_Claim]:
    """All that is to be recomputed, in order."""
    claims: list[_Claim] = []
    further = len(recorded)
    for group, each in enumerate(recorded):
        for number, rollout in each.rollouts.items():
            for sample in samples_of(each.request.prompt, rollout):
                left = each.request.max_new_tokens - sample.first
                request = replace(each.request, prompt=sample.prompt, max_new_tokens=left)
                own, further = (further, further + 1) if sample.first else (group, further)
                claims.append(_Claim(own, request, number, sample.rollout, sample.first))
    return claims


class _Answers:
    """What the contract gives at every place of some claims."""

    def __init__(self, arithmetic: Arithmetic, claims: Sequence[_Claim]) -> None:
        self._arithmetic, self._claims = arithmetic, claims
        longest = max(len(claim.rollout.tokens) for claim in claims)
        self._firsts = np.array([claim.first for claim in claims], dtype=np.int64)
        self._tokens = np.full((len(claims), longest), -1, dtype=np.int64)
        self._logprobs = np.full((len(claims), longest), np.nan, dtype=np.float32)
        seeds = np.array([claim.request.seed for claim in claims], dtype=np.uint64)
        numbers = np.array([claim.number for claim in claims], dtype=np.uint64)
        self._uniform = uniforms(seeds, numbers, int(self._firsts.max()) + longest)
        temperatures = np.array([claim.request.temperature for claim in claims], dtype=np.float32)
        self._greedy = temperatures == 0
        self._temperatures = np.where(self._greedy, np.float32(1), temperatures)

    def take(self, lines: np.ndarray, places: np.ndarray, logits: Tensor) -> None:
        """Sample as was to be sampled there."""

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).unsqueeze(1).to(logits.device)

        draw = Draw(
            column(self._uniform[lines, self._firsts[lines] + places]),
            column(self._temperatures[lines]),
            column(self._greedy[lines]) if self._greedy.any() else None,
        )
        tokens, logprobs = self._arithmetic.sample(logits, draw)
        self._tokens[lines, places] = tokens.cpu().numpy()
        self._logprobs[lines, places] = logprobs.cpu().numpy()

    def differences(self) -> Iterator[Difference]:
        """The first of each claim that has one, in order."""
        for row, claim in enumerate(self._claims):
            found = [self._value(row, claim), claim.ending()]
            first = min((each for each in found if each), key=lambda d: d.position, default=None)
            if first is not None:
                yield first

    def _value(self, row: int, claim: _Claim) -> Difference | None:
        rollout, num = claim.rollout, len(claim.rollout.tokens)
        tokens, logprobs = self._tokens[row, :num], self._logprobs[row, :num]
        # As f64, so that a recorded number that is no f32 differs from every f32.
        bits = np.array(rollout.logprobs, np.float64).view(np.int64)
        other_token = tokens != np.array(rollout.tokens)
        other = other_token | (bits != logprobs.astype(np.float64).view(np.int64))
        if rollout.sampled is not None:
            other &= np.array(list(rollout.sampled)) == SAMPLED
        if not other.any():
            return None
        at = int(other.argmax())
        if other_token[at]:
            return claim.differs(at, "token", str(rollout.tokens[at]), str(tokens[at]))
        told, right = float(rollout.logprobs[at]), float(logprobs[at])
        return claim.differs(at, "log-probability", _number(told), _number(right))


def _number(value: float) -> str:
    """In full, as text and as bits."""
    return f"{value!r} (0x{np.float32(value).view(np.uint32):08x})"
