"""Accepted rollouts, read again by the trusted role: nothing is learned from that was not checked here.

Law: the lab checked the same bytes before it accepted them; a learner that believed it would believe a lab.
"""

from collections.abc import Sequence

from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.rollouts import Rollout, bounds_of, unpack_rollouts
from archipel.work.kind import Context, WorkFailed

SampledGroup = tuple[int, list[Rollout]]
"""Version that a group was sampled from, and its rollouts."""


def count_tokens(accepted: Sequence[AcceptedWork]) -> int:
    """Sampled tokens in all of them."""
    answers = (each.answer for each in accepted)
    return sum(answer.num_tokens for answer in answers if isinstance(answer, RolloutAnswer))


def batch_groups(wanted: range, context: Context) -> dict[int, SampledGroup]:
    """Group -> what was sampled, for the groups of one batch in ascending order, from the context's inputs.

    Raises:
        WorkFailed: a group is missing, or an answer is of another kind.
        BadPayload: a result is not what was accepted.
    """
    found: dict[int, SampledGroup] = {}
    for each in context.inputs:
        spec, answer = each.spec, each.answer
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise WorkFailed(f"{each.work} is {spec.kind} work, expected rollout")
        pace = context.pace_as(RlPace)
        bounds = bounds_of(pace, work=each.work, policy=spec.policy, num_groups=len(spec.groups))
        data = context.blobs[answer.result.digest].read_bytes()
        for index, rollouts in zip(spec.groups, unpack_rollouts(data, bounds), strict=True):
            if index in wanted:
                found[index] = (spec.version, rollouts)
    missing = [index for index in wanted if index not in found]
    if missing:
        raise WorkFailed(f"groups {missing[:5]} of the batch are in none of the results")
    return {index: found[index] for index in wanted}
