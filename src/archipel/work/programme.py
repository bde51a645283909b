"""What a programme is to a child process: how its versions are examined.

The programmes themselves are `work.programmes`. Law: an examination reads what its `Context` names, as a
kind of work does, and says integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from archipel.engine.protocol import Sampler
from archipel.work.kind import Progress


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

    examine: Callable[[Sampler, int, Progress], Marks]
    """(engine with the version's weights, version, progress); raises WorkFailed."""
    close: Callable[[], None]
    """End processes of its own."""
