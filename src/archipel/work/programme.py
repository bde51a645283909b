"""What a programme is to a child process: how its versions are examined, how its answers are recomputed.

The programmes themselves are `work.programmes`. Law: an examination reads what its `Context` names, as a
kind of work does, and says integers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archipel.engine.protocol import Sampler
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import Cannot, Difference
from archipel.records.measures import Measured
from archipel.work.kind import Context, Progress
from archipel.work.policies import Policy

Seated = Callable[[], Sampler]
"""Makes an engine that samples from the weights at hand."""
Chosen = Callable[[int, int], Iterable[int]]
"""(group, how many rollouts it has) -> the numbers of those that an audit recomputes."""


@dataclass(frozen=True, slots=True)
class Marks:
    """How well one version did."""

    metrics: Mapping[str, int]
    """Counts and `_micro` (millionths), for the record."""
    beside: Mapping[str, Any]
    """What the report says besides: JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Examines the versions of one run; what it remembers lives as long."""

    examine: Callable[[Policy, Seated, Progress], Marks]
    """(the version's weights, makes an engine with them, progress); raises WorkFailed."""
    close: Callable[[], None]
    """End processes of its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of recomputing one answer."""

    positions: int
    """Tokens, each with its log-probability."""
    difference: Difference | None = None
    """The first; None: equal in every bit, or within what honest answers reach, unless it could not be told."""
    cannot: Cannot | None = None
    measured: Measured | None = None
    """Of an answer in floating point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """Recomputes accepted answers of one run; what it remembers lives as long."""

    recompute: Callable[[Context, AcceptedWork, Policy, Progress, Chosen], Finding]
    """(context with the answer's blobs, the answer, the version it names, progress, the part to look at)."""
