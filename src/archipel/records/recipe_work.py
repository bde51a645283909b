"""What a recipe says of the work that nodes and trusted machines are given. Part of `recipe`."""

from typing import Annotated

from pydantic import Field

from archipel.records.fields import MAX_GROUPS_PER_WORK
from archipel.records.recipe_form import Section


class EvaluationSection(Section):
    """Held-out tasks during training, pinned to a policy version."""

    every: Annotated[int, Field(ge=1)] = 20
    """Evaluate version 0, every K-th version and the last."""
    num_tasks: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Tasks of the dev part, each answered greedily."""
    samples_per_task: Annotated[int, Field(ge=1, le=1024)] = 1
    """Sampled completions per task for pass@k (1: greedy pass@1 only)."""


class LeaseSection(Section):
    """What is asked of a node at a time, and for how long."""

    min_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 30.0
    """No lease has less time."""
    slack: Annotated[float, Field(ge=1.0, le=100.0)] = 4.0
    """Deadline = max(min_deadline_s, slack x the node's expected time)."""
    update_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 600.0
    """How long an update or an evaluation may take before another trusted process may try."""
    max_groups: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_WORK)] = 64
    """Groups of one lease at the most."""
    price_micro: Annotated[int, Field(ge=0, le=10**12)] = 1000
    """Micro-credits for one accepted group."""
