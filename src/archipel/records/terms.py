"""What a lab must know of a run, whatever is trained in it: its terms, and the shape of a programme.

A run is a header (`Terms`) and a programme, which owns the pace, its part of the state and its kinds of
work. Law: pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from archipel.records.adapter import AdapterForm
from archipel.records.audits import AuditTerms
from archipel.records.backends import Foreign
from archipel.records.compute import Purposes
from archipel.records.engine_classes import EngineClass
from archipel.records.exact import Contract
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef, Closed, Count, LeftOut, Sparing, Wait
from archipel.records.recipe_charter import CharterTerms
from archipel.records.recipe_form import RecipeForm
from archipel.records.recipe_market import MarketTerms


class Terms(Closed):
    """The header of a run; the recipe blob holds the rest."""

    versions: Annotated[int, Field(ge=1, le=1_000_000)]
    """The last policy version has this number."""
    evaluate_every: Annotated[int, Field(ge=1)]
    """Version 0, every K-th and the last are evaluated."""
    checkpoint_every: Annotated[int, Field(ge=1, le=1_000_000)]
    """Every K-th version brings the learner's checkpoint; what it was learned from may then go."""
    keep_versions: Annotated[int, Field(ge=1, le=100_000)]
    """So many of the newest versions can be fetched."""
    trusted_deadline_ms: Wait
    """How long a trusted key may take before another may try."""


class RunPace(Sparing):
    """What every pace says: the programme whose pace it is, and by what its versions are sampled from."""

    programme: str
    exact: Annotated[Contract | None, LeftOut] = None
    """The exact contract that everything of this run is sampled by; None: each machine's own engine."""
    engine: Annotated[EngineClass | None, LeftOut] = None
    """Where there is no contract: engine, precision and device that its rollouts are sampled by; None: any."""
    adapter: Annotated[AdapterForm | None, LeftOut] = None
    """What versions are, over the run's first weights; None: a version is a whole model."""
    backend: Annotated[Foreign | None, LeftOut] = None
    """The library that computes the run's model, whose sampling is not batch-invariant; None: this software itself."""
    memory_mb: Annotated[Count | None, LeftOut] = None
    """Megabytes (10^6) that a process which samples for this run needs; None: nobody said."""
    audit: Annotated[AuditTerms | None, LeftOut] = None
    """How its answers are audited; None: they are not."""
    market: Annotated[MarketTerms | None, LeftOut] = None
    """How its rollouts are bought; None: at the price that the recipe posts."""
    charter: Annotated[CharterTerms | None, LeftOut] = None
    """Who owns what it makes, and how owners decide; None: nobody in the ledger does."""
    purposes: Annotated[Purposes | None, LeftOut] = None
    """What it is for, by tags; None: it does not say."""

    @property
    def needs(self) -> str | None:
        """What a node must have stated to be asked (see `needed`)."""
        return needed(self.sampled_by, self.plays, self.backend)

    @property
    def sampled_by(self) -> str | None:
        """The exact contract or the class of engines that is asked for; None: any engine may sample."""
        return self.exact or self.engine

    @property
    def plays(self) -> str | None:
        """The environment, with the version of its rules, that nodes play; None: none."""
        return None

    @property
    def lies_over(self) -> bool:
        """Whether its nodes need the weights that it was opened with, because what they hold lies over them."""
        return self.adapter is not None

    @property
    def named_blobs(self) -> tuple[BlobRef, ...]:
        """Bytes that the pace names, which have to be at the lab when the run opens and stay while it is open."""
        return ()


def needed(contract: str | None, played: str | None, backend: str | None = None) -> str | None:
    """An exact contract or a class of engines, an environment that is played, a library that computes the model, or
    several of them, in one word for who can and who is asked; None: anybody is.
    """
    return " ".join(each for each in (contract, played, backend) if each is not None) or None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the lab must know of tokenizer, model and text to check results."""

    size: int
    stop_tokens: tuple[int, ...]
    experts: ExpertTerms | None = None
    """Of a mixture of experts."""
    payload_bytes: int | None = None
    """Of a run whose members send how their weights moved: bytes of each; None: it is none, or nobody counted."""
    corpus: tuple[BlobRef, ...] | None = None
    """Of a run that learns from text: its manifest, then its shards in the manifest's order."""


R = TypeVar("R", bound=RecipeForm)
P = TypeVar("P", bound=RunPace)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeWords(Generic[R, P]):
    """One programme, as every room knows it."""

    recipe: type[R]
    pace: type[P]
    terms_of: Callable[[R], Terms]
    pace_of: Callable[[R, Vocabulary], P]

    @property
    def name(self) -> str:
        """The programme."""
        return str(self.pace.model_fields["programme"].default)


AnyProgramme = ProgrammeWords[Any, Any]
