"""Is exact inference a good enough copy of this model? Every variant beside fp32 and bf16, and a choice.

Parts: `Subject` and `read`, `choice_beside` (what was chosen before), `Asked`, `check`, `Checked`. Law: exact may
not be a worse model than what people run today, so the bound is bf16's own distance from fp32 unless somebody names
another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.engine.exact.choice import (
    FILE,
    BadChoice,
    Choice,
    NotCloseEnough,
    choose,
    read_choice,
)
from archipel.engine.exact.forcing import Line
from archipel.engine.exact.scoring import BF16, FP32, Figures, compare
from archipel.engine.exact.variants import VARIANTS, variant_of
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_config, read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.work.calibration import digest_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A model directory, read."""

    config: DecoderConfig
    tokenizer: Tokenizer
    state: Mapping[str, Tensor]
    """bf16."""


@dataclass(frozen=True)
class Asked:
    """What is measured."""

    num_windows: int = 32
    """Texts at most; with a recipe, tasks."""
    bound: float | None = None
    """Nats of KL; None is bf16's own."""
    variants: Sequence[str] = ()
    """None are all."""


Source = Callable[[Subject, int, Callable[[int], None]], list[Line]]
"""(subject, at most so many texts, told the tokens made so far) -> what is scored."""


def read(path: Path) -> Subject:
    """A model directory as what is measured.

    Raises:
        InvalidModel: it is none.
    """
    state = {
        name: weight.detach()
        for name, weight in read_model(path, torch.bfloat16).named_parameters()
    }
    return Subject(read_config(path), Tokenizer.from_directory(path), state)


def choice_beside(path: Path) -> Choice:
    """What was chosen for the weights in a model directory.

    Raises:
        BadChoice: nothing, or for other weights.
        InvalidModel: it is none.
    """
    if not (path / FILE).exists():
        raise BadChoice(f"{path} has no {FILE}; write it with archipel exact check --write")
    return read_choice(path, state_of(read(path)))


def state_of(subject: Subject) -> str:
    """Digest of the weights."""
    return describe(subject.state, 0, None).state


@dataclass(frozen=True)
class Checked:
    """What was measured."""

    figures: Mapping[str, Figures]
    bound: float | None
    text: str
    """Digest of what was scored."""
    state: str
    """Digest of the weights."""
    is_new: bool = True
    """Measured now, and not by an earlier check."""

    def choice(self) -> Choice:
        """The cheapest variant within the bound.

        Raises:
            NotCloseEnough: there is none.
        """
        name, bound, origin = choose(self.figures, self.bound)
        identity = variant_of(name).identity
        return Choice(name, identity, bound, origin, self.figures, self.text, self.state)

    def to_json(self) -> dict[str, Any]:
        """For machines; `variant` is null where none is within the bound."""
        try:
            return asdict(self.choice())
        except NotCloseEnough as error:
            limit = self.figures[BF16].kl if self.bound is None else self.bound
            figures = {name: asdict(each) for name, each in self.figures.items()}
            return {
                "variant": None, "why": str(error), "bound": limit, "figures": figures,
                "text": self.text, "state": self.state,
            }  # fmt: skip


def check(
    subject: Subject,
    source: Source,
    asked: Asked,
    tell: Tell,
    known: Choice | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Checked:
    """Measure; or take the figures of `known`, if they are of these weights, on the same text.

    on_share: told which share of all positions is scored.

    Raises:
        UnknownVariant: one that was asked for.
        ValueError: the source has nothing to measure on, or words that the model does not know.
        WrongWeights, NoBackend: the contract cannot compute this model, or not here.
    """
    variants = [variant_of(name).name for name in asked.variants] or list(VARIANTS)
    lines = source(subject, asked.num_windows, lambda tokens: tell(f"sampling: {tokens} tokens"))
    text, state = digest_of(lines), state_of(subject)
    if known is not None and (known.text, known.state, known.measured_on) == (text, state, None):
        wanted = (FP32, BF16, *variants)
        if known.figures.keys() >= set(wanted):
            figures = {name: known.figures[name] for name in wanted}
            return Checked(figures, asked.bound, text, state, is_new=False)
    total = sum(len(line.tokens) for line in lines) * (2 + len(variants))

    def on_progress(positions: int) -> None:
        if on_share is not None:
            on_share(positions / total)
        tell(f"measuring: {positions} of {total} positions")

    on_progress(0)
    figures = compare(subject.config, subject.state, lines, [BF16, *variants], on_progress)
    return Checked(figures, asked.bound, text, state)
