"""Reinforcement learning: rollouts of others, recomputed by the exact contract. Loads no trainer."""

from archipel.engine.exact.replay import Difference as Found
from archipel.engine.protocol import WrongWeights
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.manifest import BadWeights
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import Difference
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.payload import BadPayload
from archipel.records.programmes.rl import RlPace
from archipel.records.rollouts import bounds_of, unpack_rollouts
from archipel.work.asked import wording_by
from archipel.work.bases import read_base
from archipel.work.kind import Context, Progress, WorkFailed
from archipel.work.policies import Policy
from archipel.work.programme import Auditor, Chosen, Finding
from archipel.work.replaying import CANNOT_BE_REPLAYED, Replaying


def auditor(context: Context) -> Auditor:
    """One that keeps the weights it was given last."""
    return Auditor(recompute=_Rollouts(context).recompute)


class _Rollouts:
    """Recomputes rollouts of one run."""

    def __init__(self, context: Context) -> None:
        """Raises UnknownContract, and WorkFailed: the run's model cannot be read."""
        self._pace = context.pace_as(RlPace)
        try:
            base = None if self._pace.adapter is None else read_base(context.model)
            config = read_config(context.model)
        except (InvalidModel, OSError) as error:
            raise WorkFailed(f"the model of {context.run} cannot be used: {error}") from None
        self._blobs = context.blobs
        self._replaying = Replaying(
            config,
            self._pace,
            lambda blob: self._blobs[blob.digest].read_bytes(),
            base,
            wording_by(self._pace, context.model),
        )
        self._held = ""

    def recompute(
        self,
        context: Context,
        done: AcceptedWork,
        policy: Policy,
        progress: Progress,
        chosen: Chosen,
    ) -> Finding:
        """See `Auditor`; what the record itself does not allow is a finding, too."""
        self._blobs, spec, answer = context.blobs, done.spec, done.answer
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise WorkFailed(f"{done.work} is {spec.kind} work, expected rollout")
        try:
            self._take(policy)
        except (WrongWeights, BadWeights, WorkFailed):
            return Finding(0, cannot="weights")
        try:
            bounds = bounds_of(
                self._pace, work=done.work, policy=spec.policy, num_groups=len(spec.groups)
            )
            sampled = unpack_rollouts(self._blobs[answer.result.digest].read_bytes(), bounds)
            groups = dict(zip(spec.groups, sampled, strict=True))
            found = self._replaying.replay(spec, groups, progress, chosen)
        except (BadPayload, *CANNOT_BE_REPLAYED):
            return Finding(0, cannot="record")
        return Finding(
            found.positions, None if found.difference is None else _told(found.difference)
        )

    def _take(self, policy: Policy) -> None:
        if self._held != policy.manifest.state:
            self._held = ""
            self._replaying.use(policy)
            self._held = policy.manifest.state


def _told(found: Found) -> Difference:
    return Difference(
        group=int(found.key),
        rollout=found.rollout,
        position=found.position,
        what=found.what,
        recorded=found.recorded,
        recomputed=found.recomputed,
    )
