"""What every kind of work is: a function of a spec and of local files, run in a child process.

Parts: `Context` (all that a run may use), `Answer`, `Kind`. The kinds themselves are `work.kinds`.
Law: a kind reads only what its `Context` names and writes only into `scratch` and `memory`; it has no network, no keys and no clock that matters to its result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from archipel.records.backends import Backend
from archipel.records.engine_classes import class_of
from archipel.records.fields import Fault
from archipel.records.recipe_form import InvalidRecipe, RecipeForm, read_canonical
from archipel.records.spread import ONE_DEVICE, Spread
from archipel.records.terms import RunPace
from archipel.records.turns import Reply, Said
from archipel.work.messages import DoWork, LocalPath, Materials, ReplayStep
from archipel.work.remembered import Remembered

Progress = Callable[[int], None]
"""Told how many tokens the work has sampled or learned from so far."""
Ask = Callable[[Sequence[Said]], Sequence[Reply]]
"""What follows each of these turns, in order."""
P = TypeVar("P", bound=RunPace)
R = TypeVar("R", bound=RecipeForm)


class WorkFailed(Exception):
    """The machine could not do the work; the message says why, for the operator of the node."""


class MachineUnfit(WorkFailed):
    """It is this machine that cannot do such work: its engine, its memory."""


class Unanswered(WorkFailed):
    """Turns that were asked got no reply."""

    def __init__(self, reason: str, fault: Fault | None) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the node's operator picked to sample with."""

    name: Literal["archipel", "transformers", "vllm"] = "archipel"
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    engines: int = 1
    """Processes that sample side by side, each with the weights."""
    spread: Spread = ONE_DEVICE
    """Over how many devices each of them splits its model."""


class Context(Materials):
    """Everything local that a piece of work may use."""

    scratch: LocalPath
    """Where answers are written; removed once they are delivered."""
    memory: LocalPath | None
    """This machine's own lasting folder for this run; a stranger's goes when others need the room, or with its owner's
    word, and is then begun anew."""
    ask: Ask | None = None
    """Puts turns to the run's trusted role (`records.turns`); raises WorkFailed when no reply comes."""

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.opened.run

    @property
    def contract(self) -> str | None:
        """The exact contract that the run is sampled by; None: any engine may."""
        return self.opened.pace.exact

    @property
    def engine_class(self) -> str | None:
        """Engine, precision and device that the run's rollouts are sampled by; None: a contract, or any."""
        return self.opened.pace.engine

    @property
    def backend(self) -> Backend:
        """Who computes the run's model."""
        return self.opened.pace.backend or "archipel"

    @property
    def lasting(self) -> Path:
        """`memory`, for work that cannot do without.

        Raises:
            WorkFailed: it was given none.
        """
        if self.memory is None:
            raise WorkFailed(f"{self.work} of {self.run} needs a lasting folder of its own")
        return self.memory

    def as_of(self, step: ReplayStep) -> Self:
        """The same, with the inputs of an earlier update."""
        return self.model_copy(update={"inputs": step.inputs, "blobs": step.blobs})

    def pace_as(self, form: type[P]) -> P:
        """The run's pace.

        Raises:
            WorkFailed: it is the pace of another programme.
        """
        pace = self.opened.pace
        if not isinstance(pace, form):
            raise WorkFailed(f"{self.run} is a run of {pace.programme}, not for this kind of work")
        return pace

    def recipe_as(self, form: type[R]) -> R:
        """The run's recipe.

        Raises:
            WorkFailed: it was not given, or is none of this form.
        """
        if self.recipe is None:
            raise WorkFailed(
                f"work {self.work} needs the recipe, which only trusted keys are given"
            )
        try:
            return read_canonical(self.recipe, form)
        except InvalidRecipe as error:
            raise WorkFailed(f"the recipe of {self.run} cannot be used: {error}") from None


def context_of(
    message: DoWork, scratch: Path, memory: Path | None, ask: Ask | None = None
) -> Context:
    """What the agent laid ready, with the folders that work may write to."""
    materials = {name: getattr(message, name) for name in Materials.model_fields}
    return Context(**materials, scratch=scratch, memory=memory, ask=ask)


@dataclass(frozen=True, slots=True)
class Answer:
    """Files to upload and values for the record."""

    files: Mapping[str, Path]
    values: Mapping[str, Any]


def by_contract(contract: str | None) -> dict[str, str]:
    """What the values of an answer say of how it was sampled."""
    return {} if contract is None else {"exact": contract}


def by_class(choice: EngineChoice, asked: str | None) -> dict[str, str]:
    """The same where a run asks for a class of engines.

    Raises:
        MachineUnfit: this machine samples by another.
    """
    own = class_of(choice.name, choice.dtype, choice.device)
    if asked is None:
        return {}
    if own != asked:
        raise MachineUnfit(
            f"this machine samples by {own or f'{choice.name} on {choice.device}'}, the run asks for {asked}: join "
            "with another --engine, --dtype or --device"
        )
    return {"engine": own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of work, as a child process runs it; what its functions remember lives as long."""

    run: Callable[[Any, Context, Progress], Answer]
    """(spec, context, progress); raises WorkFailed with a sentence for the operator."""
    remembers: Callable[[str, Path], tuple[Remembered, ...]]
    """(run, memory): versions that work can continue from without replay, the first that it would take first."""
    close: Callable[[], None]
    """End processes of its own; what is in memory is gone, what is on disk stays."""
    shared: bool
    """All ranks of a site take part; of any other kind the first rank does all the work."""


def remembers_nothing(run: str, memory: Path) -> tuple[Remembered, ...]:
    """What a kind without a lasting memory remembers."""
    return ()


def has_nothing_to_end() -> None:
    """The end of a kind without processes of its own."""
