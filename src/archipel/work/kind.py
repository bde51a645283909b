"""What every kind of work is: a function of a spec and of local files, run in a child process.

Law: a kind reads only what its `Context` names and writes only into `scratch` (and, for the trusted
role, `memory`); it has no network, no keys and no clock that matters to its result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from archipel.records.statements import Pace, ResultInput, Spec

Progress = Callable[[Mapping[str, Any]], None]


class WorkFailed(Exception):
    """The machine could not do the work; the message says why, for the operator of the node."""


@dataclass(frozen=True, slots=True)
class Link:
    """One policy version as files: how to get there from its parent, or from nothing."""

    version: int
    policy: str
    """State digest."""
    manifest: Path
    anchor: Path | None
    delta: Path | None


@dataclass(frozen=True, slots=True)
class Context:
    """Everything local that a piece of work may use."""

    work: str
    run: str
    pace: Pace
    model: Path
    """Directory with config.json and the tokenizer (and the initial weights, for the trusted role)."""
    chain: tuple[Link, ...]
    """Versions to apply, in order, to reach the one that the spec names."""
    blobs: Mapping[str, Path]
    """Digest -> file, each verified by whoever fetched it."""
    scratch: Path
    """Where answers are written; removed once they are delivered."""
    memory: Path | None
    """The trusted role's own lasting folder for this run."""
    secret: bytes | None
    """What only the trusted role knows."""
    recipe: bytes | None
    """Canonical bytes; only the trusted role needs them."""
    inputs: tuple[ResultInput, ...]
    """For an update: the accepted results that hold its batch."""
    replay: tuple[tuple[int, tuple[ResultInput, ...]], ...]
    """(version, results) of earlier updates, for an update process that has to catch up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Files to upload and values for the record."""

    files: Mapping[str, Path]
    values: Mapping[str, Any]


class Kind(Protocol):
    """One kind of work; an instance lives as long as its process and may remember weights."""

    def run(self, spec: Spec, context: Context, progress: Progress) -> Answer:
        """Do the work.

        Raises:
            WorkFailed: with a sentence for the operator.
        """
        ...
