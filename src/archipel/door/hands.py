"""Who does a door's work: what is asked of them, and what they answer.

`local` does it in this process, several models in one pass; `remote` has it done by nodes of a network.
Parts: `Hands` (the protocol), `ModelForm`, `Turn`, `TurnDone` (training), `Weights`, `SampleAsked` (sampling; what comes
of it is `work.questions`'), `ServedModel`.
Law: what comes of a turn is a pure function of the model's state and the turn's operations, so a door that forgot
everything since `keep` asks for the turns since then once more and comes out the same; a turn is never begun before
the same model's last one has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from archipel.records.adapter import AdapterForm
from archipel.training.tenants.operations import Operation, Outcome
from archipel.work.questions import Completion, Sampled, TopK

__all__ = [
    "CannotDo",
    "Completion",
    "Hands",
    "HandsLost",
    "ModelForm",
    "SampleAsked",
    "Sampled",
    "ServedModel",
    "TopK",
    "Turn",
    "TurnDone",
    "Weights",
]


@dataclass(frozen=True)
class ServedModel:
    """A base model that adapters can be trained over."""

    name: str
    """What clients call it; several names may mean one base."""
    max_context_length: int
    vocab_size: int
    tokenizer_id: str
    architecture: str
    end_tokens: tuple[int, ...] = ()
    """By which its own texts end."""


@dataclass(frozen=True)
class ModelForm:
    """A tenant's adapter before anything was learned."""

    base: str
    form: AdapterForm
    seed: int


@dataclass(frozen=True, eq=False)
class Turn:
    """Consecutive operations of one model."""

    model: str
    tenant: str
    """Whose share of the time it is."""
    share: int
    """Weight of that share, from 1 up."""
    operations: tuple[Operation, ...]


@dataclass(frozen=True, eq=False)
class TurnDone:
    """What came of each operation, in their order."""

    outcomes: tuple[Outcome, ...]
    num_tokens: int
    """Tokens that passed through the model, for the bill."""


@dataclass(frozen=True)
class Weights:
    """What to sample from: a base model, and an adapter over it as a PEFT folder, or none."""

    base: str
    adapter: Path | None
    name: str
    """The adapter's own name: the same name is the same bytes. Empty without one."""


@dataclass(frozen=True, eq=False)
class SampleAsked:
    """Some completions of one prompt."""

    weights: Weights
    tenant: str
    share: int
    prompt: tuple[int, ...]
    num_samples: int
    """0: the prompt is only scored."""
    max_tokens: int
    seed: int
    temperature: float
    top_k: int
    """-1 or 0: all."""
    top_p: float
    stop_tokens: tuple[int, ...]
    stop_strings: tuple[str, ...]
    prompt_logprobs: bool
    topk_prompt_logprobs: int
    topk_sample_logprobs: int
    target_prompt_tokens: tuple[tuple[int, int], ...] | None = None
    """(place in the prompt from 1 up, token) pairs whose log-probabilities are asked, several at one place or none;
    None: nobody asks."""


class CannotDo(ValueError):
    """The question makes no sense for this model, or does not fit; whoever asked is to blame, and nothing was done."""


class HandsLost(RuntimeError):
    """The work could not be done now, and may be asked for again; nobody who asked is to blame."""


class Hands(Protocol):
    """All calls are coroutines; several may wait at once, of one model one.

    Whoever cancels a call that may have begun asks no more of its model until `restore`: how far it came is not known.
    """

    def models(self) -> Sequence[ServedModel]:
        """What can be trained and sampled."""

    async def create(self, model: str, form: ModelForm) -> None:
        """Begin an adapter that changes nothing yet.

        Raises:
            CannotDo: no such base, or this form does not fit it or this machine.
        """

    async def restore(self, model: str, form: ModelForm, kept: Path, optimiser: bool) -> None:
        """Begin, or go back to, what `keep` wrote; without `optimiser`, weights alone.

        Raises:
            CannotDo: these files are not of this form.
        """

    async def forget(self, model: str) -> None:
        """Give its memory back; a model that is not there is no fault."""

    async def train(self, turn: Turn) -> TurnDone:
        """Do the operations in their order.

        Raises:
            HandsLost: nothing of the turn counts; ask again from what was kept last.
        """

    async def keep(self, model: str, folder: Path) -> None:
        """Write weights, moments and gathered gradient into a new folder, durably."""

    async def publish(self, model: str, folder: Path) -> None:
        """Write the adapter alone, as a PEFT folder that `Weights` can name, durably."""

    async def sample(self, asked: SampleAsked) -> Sampled:
        """Sample, and score the prompt where asked.

        Raises:
            CannotDo: see there.
            HandsLost: ask again; the same seed gives the same.
        """
