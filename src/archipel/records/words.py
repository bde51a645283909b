"""What a kind of work says of itself: the shape that every row of `records.kinds` fills.

A kind's words are its spec (what is asked), its answer (what comes back), what a machine needs before it
can begin, and how a child's words become an answer. Law: pure; every field is required, so a kind that
lacks one fails at import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, Self, TypeVar, Union

from pydantic import Field

from archipel.records.chain import Publication
from archipel.records.fields import BlobRef, Closed, Digest, RunName, VersionNumber

MAX_INPUTS = 65_536
"""Answers that one work may be made from."""


class WorkSpec(Closed):
    """What every spec says."""

    kind: str
    run: RunName


class WorkAnswer(Closed):
    """What every answer says."""

    kind: str


class SavedMemory(Closed):
    """A learner's checkpoint, and the version it stands at."""

    version: VersionNumber
    blob: BlobRef


@dataclass(frozen=True, slots=True)
class Memory:
    """What a trusted worker must have learned before it begins."""

    version: int
    """The version that its memory must stand at; what it missed is replayed."""
    checkpoint: BlobRef | None
    """A memory to start from if the worker's own is older or gone."""
    checkpoint_version: int
    """The version that `checkpoint` stands at."""
    policy: Digest | None = None
    """State digest of `version`, by which a memory of another history is told apart; None: nothing is published yet."""

    @classmethod
    def before(cls, version: int, saved: SavedMemory | None, parent: Digest | None) -> Self:
        """What whoever makes this version from `parent` must have learned, and the newest checkpoint on the way there."""
        if saved is None:
            return cls(version - 1, None, -1, parent)
        return cls(version - 1, saved.blob, saved.version, parent)


@dataclass(frozen=True, slots=True)
class Needs:
    """What must lie on a machine's disk before work can begin; what is not asked for is not given."""

    weights: int | None = None
    """Policy version that the child must hold."""
    blobs: tuple[BlobRef, ...] = ()
    recipe: bool = False
    """The recipe and, if it names one, the verifier's secret: for trusted keys only."""
    inputs: Digest | None = None
    """Earlier answers, as the list with this digest (`records.documents.inputs_digest`)."""
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a child process said when it was done."""

    values: Mapping[str, Any]
    blobs: Mapping[str, BlobRef]
    """Role -> the file it wrote for it."""
    busy_ms: int


S = TypeVar("S", bound=WorkSpec)
A = TypeVar("A", bound=WorkAnswer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words(Generic[S, A]):
    """One kind of work, as every room knows it."""

    spec: type[S]
    answer: type[A]
    trusted: bool
    """Only keys that the run trusts may do it."""
    appeals: bool
    """Where strangers disagree, or none is there, keys that the run trusts do it as well."""
    needs: Callable[[S], Needs]
    answer_of: Callable[[S, Told], A]
    """Raises KeyError or ValueError when something is missing."""
    blobs: Callable[[A], tuple[BlobRef, ...]]
    """Bytes that the answer names."""
    publishes: Callable[[A], Publication | None]
    """The policy version that an answer adds to its run's chain, by which nodes know it; None: nothing."""

    @property
    def name(self) -> str:
        """The kind."""
        return _kind_of(self.spec)


@cache
def _kind_of(spec: type[WorkSpec]) -> str:
    """Asked for every record of a lab; a class says it once."""
    return str(spec.model_fields["kind"].default)


def publishes_nothing(answer: WorkAnswer) -> None:
    """Of a kind whose answers are no versions."""


def one_of(types: tuple[type, ...], by: str) -> Any:
    """The closed union of `types`, told apart by their field `by`."""
    if len(types) == 1:
        return types[0]  # a union of one is no union to pydantic
    return Annotated[Union[types], Field(discriminator=by)]  # noqa: UP007  made from a table
