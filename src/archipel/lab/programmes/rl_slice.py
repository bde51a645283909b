"""What a lab knows of a run of reinforcement learning besides its header. Part of `rl`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archipel.lab.state import Run
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.update import SavedMemory
from archipel.records.programmes.rl import RlPace
from archipel.records.table import Table


@dataclass(frozen=True, slots=True)
class Made:
    """What a version was made from."""

    grant: int
    """Position of its update's grant in the ledger."""
    inputs: tuple[AcceptedWork, ...]


@dataclass(frozen=True, slots=True)
class RlSlice:
    """What is known of a run of reinforcement learning besides its header."""

    owed: int
    """Groups of the learner's next batch that are not accepted yet."""
    next_group: int = 0
    """Groups 0 .. next_group - 1 were admitted at least once."""
    pool: tuple[int, ...] = ()
    """Admitted groups whose lease came back, ascending; they go out first."""
    accepted: Table[int, str] = field(default_factory=Table)
    """Group -> work whose result holds it, for groups no update has consumed yet."""
    results: Table[str, AcceptedWork] = field(default_factory=Table)
    """Work -> its result, while a group of it is unconsumed."""
    holders: Table[int, str] = field(default_factory=Table)
    """Group -> work, of those in nodes' hands; of two works on one group the older."""
    twins: Table[str, str] = field(default_factory=Table)
    """Work -> the other work on the same groups, both ways."""
    prompts: Mapping[int, BlobRef] = field(default_factory=dict)
    """Batch -> prompts, for batches no update has consumed yet."""
    updating: str | None = None
    """The update in somebody's hands."""
    made: Mapping[int, Made] = field(default_factory=dict)
    """Version -> what it was made from, since the newest checkpoint: a learner without memory replays it."""
    memory: SavedMemory | None = None
    """The learner's newest published checkpoint."""
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Staleness -> consumed groups."""
    busy_ms: int = 0
    num_groups: int = 0
    num_tokens: int = 0
    rollout_bytes: int = 0


def course(run: Run) -> RlSlice:
    """The run's slice.

    Raises:
        TypeError: the run follows another programme; a defect.
    """
    if not isinstance(run.course, RlSlice):
        raise TypeError(f"run {run.name} does not follow rl")
    return run.course


def pace(run: Run) -> RlPace:
    """The run's pace; raises TypeError as `course` does."""
    if not isinstance(run.opened.pace, RlPace):
        raise TypeError(f"run {run.name} does not follow rl")
    return run.opened.pace


def with_course(run: Run, **changes: Any) -> Run:
    """The run with some of its slice changed."""
    return changed(run, course=changed(course(run), **changes))
