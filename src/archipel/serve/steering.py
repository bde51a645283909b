"""What bends an answer: penalties for what was said, biases of single tokens, a grammar that it must keep to.

Parts: `Mask` (what a grammar says), `Look` (who wants to know what else was likely), `Steered` (of one question). Laws: a
grammar allows an end only where the document is whole; where it allows nothing at all, the answer ends and says so
(`Steered.faults`), it does not run on. Who only looks changes no bit.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from archipel.model.cuts import CutRows
from archipel.records.cuts import Cut
from archipel.records.requests import Hand
from archipel.serve.defects import broken
from archipel.serve.question import Bends, Refusal


class Mask:
    """What a grammar allows next, for one answer; `serve.grammar` makes them."""

    def leave(self, logits_V: Tensor) -> bool:
        """Make the logits (V,) fp32 of all that may not come minus infinity, in place; False: nothing may, all stay."""
        raise NotImplementedError

    def took(self, token: int) -> None:
        """Be told which one came."""
        raise NotImplementedError


Top = tuple[tuple[int, float], ...]
"""(token, log-probability) of the likeliest, the likeliest first."""


@dataclass(frozen=True)
class Look:
    """What was likely is noted, at every place, of the distribution that is sampled from."""

    num: int
    temperature: float
    cut: Cut | None

    def of(self, logits_V: Tensor) -> Top:
        """Of these logits, which are bent already; what has no chance is left out."""
        row = logits_V if self.temperature in (0.0, 1.0) else logits_V / self.temperature
        row = row.unsqueeze(0)
        if self.cut is not None:
            row = CutRows.alike(self.cut, row.device).cut(row)
        chances, tokens = torch.softmax(row[0], dim=-1).topk(min(self.num, len(logits_V)))
        found = zip(tokens.tolist(), chances.log().tolist(), chances.tolist(), strict=True)
        return tuple((token, logprob) for token, logprob, chance in found if chance > 0)


@dataclass(frozen=True)
class Steered:
    """`Steering` of one question."""

    bends: Bends
    mask: Callable[[], Mask] | None
    stops: tuple[int, ...]
    look: Look | None = None
    prompt: Sequence[int] = ()
    faults: dict[int, str] = field(default_factory=dict)
    """Rollout -> why its document ended before it was whole."""
    tops: dict[int, list[Top]] = field(default_factory=dict)
    """Rollout -> what was likely at each of its places so far; empty where nobody looks."""

    @cached_property
    def biases(self) -> tuple[Tensor, Tensor]:
        """Tokens (N,) int64, and what is added to the logit of each, (N,) fp32."""
        found = self.bends.biases
        return torch.tensor(list(found)), torch.tensor(list(found.values()), dtype=torch.float32)

    @property
    def is_needed(self) -> bool:
        """Whether it does anything."""
        return self.bends != Bends() or self.mask is not None or self.look is not None

    def hand(self, rollout: int) -> Hand:
        """See `records.requests.Steering`."""
        return _Hand(self, rollout, None if self.mask is None else self.mask(), self._recent())

    def _recent(self) -> deque[int] | None:
        most = self.bends.recent
        if self.bends.repeat == 1.0 or most == 0:
            return None
        return deque(self.prompt, maxlen=None if most < 0 else most)


@dataclass
class _Hand:
    """Of one answer."""

    steered: Steered
    rollout: int
    mask: Mask | None
    recent: deque[int] | None
    """What the penalty for repetition looks at."""
    said: Counter[int] = field(default_factory=Counter)

    def steer(self, logits: Tensor) -> None:
        """See `records.requests.Hand`."""
        try:
            if self.rollout not in self.steered.faults:
                self._bend(logits)
                return
        except Exception as error:  # noqa: BLE001  a step is everybody's: whose hand fails ends alone
            self._fail(error)
        self._only_ends(logits)

    def _bend(self, logits: Tensor) -> None:
        bends = self.steered.bends
        if self.recent:
            tokens = torch.tensor(sorted(set(self.recent)), device=logits.device)
            held = logits[tokens]
            logits[tokens] = torch.where(held > 0, held / bends.repeat, held * bends.repeat)
        if self.said and (bends.presence or bends.frequency):
            tokens = torch.tensor(list(self.said), device=logits.device)
            times = torch.tensor([float(each) for each in self.said.values()], device=logits.device)
            logits[tokens] -= bends.presence + bends.frequency * times
        if bends.biases:
            tokens, biases = self.steered.biases
            is_here = tokens < len(logits)
            logits[tokens[is_here].to(logits.device)] += biases[is_here].to(logits.device)
        if self.mask is not None and not self.mask.leave(logits):
            self.steered.faults[self.rollout] = (
                "the grammar allows no token here, so the document is not whole"
            )
            logits.masked_fill_(~self._ends(logits), -torch.inf)
        if self.steered.look is not None:
            noted = self.steered.tops.setdefault(self.rollout, [])
            noted.append(self.steered.look.of(logits))

    def _ends(self, logits: Tensor) -> Tensor:
        ends = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        ends[list(self.steered.stops)] = True
        return ends

    def _only_ends(self, logits: Tensor) -> None:
        """The answer is over, where there is a token that says so."""
        if self.steered.stops:
            ends = self._ends(logits)
            logits.masked_fill_(~ends, -torch.inf).masked_fill_(ends, 0.0)

    def _fail(self, error: Exception) -> None:
        why = error if isinstance(error, Refusal) else broken(error, "bending an answer")
        self.steered.faults[self.rollout] = str(why)

    def took(self, token: int) -> None:
        """See `records.requests.Hand`."""
        if self.recent is not None:
            self.recent.append(token)
        if self.steered.bends.presence or self.steered.bends.frequency:
            self.said[token] += 1
        if self.mask is not None and token not in self.steered.stops:
            try:
                self.mask.took(token)
            except Exception as error:  # noqa: BLE001  see `steer`
                self._fail(error)
