"""Which tasks the groups of a work have, where they are chosen: prompts say it, for whoever plays or answers them."""

from collections.abc import Callable, Mapping

from archipel.records.fields import BlobRef
from archipel.records.kinds import Spec
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import WrongShape, unpack_tasks
from archipel.records.terms import RunPace


def tasks_of(
    spec: Spec, pace: RunPace, read: Callable[[BlobRef], bytes]
) -> Mapping[int, int] | None:
    """Group -> task; None: of a run whose groups have the tasks of their numbers.

    Raises:
        BadPayload: prompts that cannot be read, or do not say it of some group.
    """
    if not isinstance(spec, RolloutSpec) or not isinstance(pace, RlPace):
        return None
    if pace.episodes is None or not pace.episodes.chooses:
        return None
    found: dict[int, int] = {}
    for blob in spec.prompts:
        batch, _, tasks = unpack_tasks(read(blob))
        first = batch * pace.groups_per_update
        found |= {first + row: task for row, task in enumerate(tasks or ())}
    missing = [group for group in spec.groups if group not in found]
    if missing:
        raise WrongShape(
            f"which tasks groups {missing[:5]} have stands in none of the named prompts"
        )
    return found
