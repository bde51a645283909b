"""How far an arithmetic is from fp32 on given texts: every position of a text, teacher-forced.

Parts: `Figures`, `compare`. Distances are of the whole next-token distribution, at temperature 1.
What it does not show: what a model does with its own words, unless the texts are such.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, FloatArithmetic
from archipel.engine.capacity import EngineLimits
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.forcing import Line, force
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.fused import FusedDecoder
from archipel.model.config import DecoderConfig

FP32, BF16 = "fp32", "bf16"
MAX_LOGITS = 1 << 24
"""Reference logits that are held at a time, four bytes each."""


@dataclass(frozen=True)
class Figures:
    """One arithmetic beside fp32; means over positions."""

    positions: int
    kl: float
    """KL(fp32 || this), nats."""
    kl_error: float
    """Half of the 95 percent interval of `kl`, from the spread over texts; NaN with one text."""
    kl_largest: float
    """Of any position."""
    tv: float
    """Total variation."""
    loss: float
    """Nats for each token of the texts."""
    agreement: float
    """Share of positions with fp32's likeliest token."""


def arithmetic_named(name: str, config: DecoderConfig) -> Arithmetic:
    """`fp32`, `bf16`, or a variant of the contract, on the CPU.

    Raises:
        KeyError: there is none of this name.
    """
    device = torch.device("cpu")
    if name in (FP32, BF16):
        dtype = torch.float32 if name == FP32 else torch.bfloat16
        return FloatArithmetic(config, dtype, device)
    return ExactArithmetic(config, VARIANTS[name], device)


@torch.inference_mode()
def compare(
    config: DecoderConfig,
    state: Mapping[str, Tensor],
    texts: Sequence[Line],
    names: Sequence[str],
    on_progress: Callable[[int], None] = lambda positions: None,
) -> dict[str, Figures]:
    """Figures of fp32 and of each of `names`; all are held at once, about 10 bytes a weight.

    `on_progress` is told the scored positions so far, over all of them; 0 each time that one of them is ready.

    Raises:
        WrongWeights: not of this architecture, or no bf16 numbers.
        NoBackend: this machine has no exact products.
    """
    named = dict.fromkeys((FP32, *names))
    decoders = dict[str, FusedDecoder]()
    for name in named:
        decoders[name] = FusedDecoder(config, state, arithmetic_named(name, config))
        on_progress(0)
    tallies = {name: _Tally() for name in decoders}
    done = 0
    for batch in _batches(texts, config.vocab_size):
        reference = _Reference(batch, config.vocab_size)
        force(decoders[FP32], batch, EngineLimits(), reference.keep)
        for name, decoder in decoders.items():
            against = _Against(reference, batch)
            if name == FP32:
                against.take_all()
            else:
                force(decoder, batch, EngineLimits(), against.take)
            tallies[name].add(against)
            done += reference.positions
            on_progress(done)
    return {name: tally.figures() for name, tally in tallies.items()}


def _batches(texts: Sequence[Line], vocab_size: int) -> Iterator[Sequence[Line]]:
    most, batch, held = max(1, MAX_LOGITS // vocab_size), list[Line](), 0
    for text in texts:
        if batch and held + len(text.tokens) > most:
            yield batch
            batch, held = [], 0
        batch.append(text)
        held += len(text.tokens)
    if batch:
        yield batch


class _Reference:
    """Fp32's logits at every position of a batch."""

    def __init__(self, batch: Sequence[Line], vocab_size: int) -> None:
        lengths = [len(line.tokens) for line in batch]
        self.starts = np.cumsum([0, *lengths[:-1]])
        self.positions = sum(lengths)
        self.logits = torch.empty(self.positions, vocab_size)
        self.tokens = torch.tensor([token for line in batch for token in line.tokens])
        self.owners = np.repeat(np.arange(len(batch)), lengths)

    def rows(self, lines: np.ndarray, places: np.ndarray) -> Tensor:
        """Where positions stand in `logits`."""
        return torch.from_numpy(self.starts[lines] + places)

    def keep(self, lines: np.ndarray, places: np.ndarray, logits: Tensor) -> None:
        self.logits[self.rows(lines, places)] = logits.float()


class _Against:
    """One arithmetic's distance from the reference at every position of a batch."""

    def __init__(self, reference: _Reference, batch: Sequence[Line]) -> None:
        self._reference, self.num_texts = reference, len(batch)
        self.owners = reference.owners
        self.kl, self.tv, self.loss, self.same = np.zeros((4, reference.positions))

    def take_all(self) -> None:
        """The reference beside itself."""
        step = max(1, (MAX_LOGITS >> 2) // self._reference.logits.shape[1])
        for start in range(0, self._reference.positions, step):
            rows = torch.arange(start, min(start + step, self._reference.positions))
            self._measure(rows, self._reference.logits[rows])

    def take(self, lines: np.ndarray, places: np.ndarray, logits: Tensor) -> None:
        self._measure(self._reference.rows(lines, places), logits)

    def _measure(self, rows: Tensor, logits: Tensor) -> None:
        # In f64: a distance of 1e-7 would drown in what f32 rounds.
        p, q = self._reference.logits[rows].double(), logits.double()
        p, q = p.sub_(p.logsumexp(-1, keepdim=True)), q.sub_(q.logsumexp(-1, keepdim=True))
        at, tokens = rows.numpy(), self._reference.tokens[rows]
        self.same[at] = (p.argmax(-1) == q.argmax(-1)).double().numpy()
        self.loss[at] = -q.gather(1, tokens.unsqueeze(1)).squeeze(1).numpy()
        chances = p.exp()
        self.tv[at] = (chances - q.exp()).abs_().sum(-1).div_(2).numpy()
        self.kl[at] = p.sub_(q).mul_(chances).sum(-1).numpy()


class _Tally:
    """Batches, joined."""

    def __init__(self) -> None:
        self._parts: list[_Against] = []

    def add(self, part: _Against) -> None:
        self._parts.append(part)

    def figures(self) -> Figures:
        kl, tv, loss, same = (
            np.concatenate([getattr(part, name) for part in self._parts])
            for name in ("kl", "tv", "loss", "same")
        )
        means = [
            float(part.kl[part.owners == text].mean())
            for part in self._parts
            for text in range(part.num_texts)
        ]
        error = (
            1.96 * float(np.std(means, ddof=1)) / math.sqrt(len(means)) if means[1:] else math.nan
        )
        return Figures(
            positions=len(kl),
            kl=float(kl.mean()),
            kl_error=error,
            kl_largest=float(kl.max()),
            tv=float(tv.mean()),
            loss=float(loss.mean()),
            agreement=float(same.mean()),
        )
