"""How a run of reinforcement learning is paced and published, and where its tasks come from: sections of its recipe."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.canonical import MAX_SAFE_INTEGER
from archipel.records.recipe_form import RunHeader, Section
from archipel.records.weight_parts import MAX_PARTS

Positive = Annotated[float, Field(gt=0.0)]


class RunSection(RunHeader):
    """How the run is paced."""

    programme: Literal["rl"] = "rl"
    """What the run follows; `rl` is reinforcement learning."""
    versions: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of updates; the last policy version has this number."""
    groups_per_update: Annotated[int, Field(ge=1, le=65_536)] = 32
    """B: groups that one update consumes."""
    group_size: Annotated[int, Field(ge=2, le=1024)] = 8
    """G: rollouts of one prompt."""
    max_staleness: Annotated[int, Field(ge=0, le=64)] = 1
    """S: an update never sees a rollout more than S versions old."""
    seed: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """Everything random in the run follows from it."""
    anchor_every: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Every K-th version is also published whole, so a late joiner replays at most K deltas."""
    checkpoint_every: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Every K-th version also brings the learner's checkpoint; older rollouts may then go."""
    keep_versions: Annotated[int, Field(ge=1, le=100_000)] = 256
    """So many of the newest versions stay fetchable, with the anchor that leads to them."""
    parts: Annotated[int, Field(ge=1, le=MAX_PARTS)] | None = None
    """Versions are published in about so many parts, cut between layers where that is near; None: whole."""

    LATER = frozenset({"parts"})


class EnvironmentSection(Section):
    """Where tasks and rewards come from."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """`secret_order`, `reasoning_gym`, `jsonl`, `python`, `verifiers`, `drawers`, `guess`."""
    parameters: dict[str, str | int | float | bool] = Field(default={})
    """The environment's own settings; it refuses those it does not know. A file that one names is read
    by the trusted role if the parameter is called `path` or `..._path`."""
    secret: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    """Name of a secret that only the trusted role holds; never its value."""
    time_limit_s: Positive = 5.0
    """One grading call may take this long; then the reward is 0 and the timeout is counted."""
