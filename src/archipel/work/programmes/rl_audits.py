"""Reinforcement learning: rollouts of others, recomputed by the exact contract, or measured. Loads no trainer."""

from archipel.engine.exact.replay import Recorded
from archipel.engine.protocol import WrongWeights
from archipel.engine.toploc import BadFingerprint
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.manifest import BadWeights
from archipel.proofs.forced import BadClaim
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.measures import Measures
from archipel.records.payload import BadPayload
from archipel.records.programmes.rl import RlPace
from archipel.records.rollouts import Rollout, bounds_of, unpack_rollouts
from archipel.work.asked import requests_of, wording_by
from archipel.work.bases import read_base
from archipel.work.calibrated import is_by
from archipel.work.kind import Context, EngineChoice, Progress, WorkFailed
from archipel.work.measuring import CALIBRATION, Measuring, told
from archipel.work.policies import Policy
from archipel.work.programme import Auditor, Chosen, Finding
from archipel.work.replaying import CANNOT_BE_REPLAYED, Replaying


def auditor(context: Context, choice: EngineChoice) -> Auditor:
    """One that keeps the weights it was given last; it looks on the processor, whatever its node samples on."""
    pace = context.pace_as(RlPace)
    if pace.exact is None and pace.audit is not None and pace.audit.measures is not None:
        return Auditor(recompute=_Measured(context, pace.audit.measures).recompute)
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
            groups = _sampled(context, self._pace, done, spec, answer)
            found = self._replaying.replay(spec, groups, progress, chosen)
        except (BadPayload, *CANNOT_BE_REPLAYED):
            return Finding(0, cannot="record")
        return Finding(
            found.positions, None if found.difference is None else told(found.difference)
        )

    def _take(self, policy: Policy) -> None:
        if self._held != policy.manifest.state:
            self._held = ""
            self._replaying.use(policy)
            self._held = policy.manifest.state


class _Measured:
    """Measures rollouts of one run by the limits that its opening cites."""

    def __init__(self, context: Context, measures: Measures) -> None:
        """Raises WorkFailed: the run's model cannot be read."""
        self._pace = context.pace_as(RlPace)
        named = self._pace.engine or ""
        try:
            config = read_config(context.model)
            data = (context.model / CALIBRATION).read_bytes()
        except (InvalidModel, OSError) as error:
            raise WorkFailed(f"the model of {context.run} cannot be used: {error}") from None
        self._is_cited = is_by(measures, data, named)
        self._wording = wording_by(self._pace, context.model)
        self._measuring = Measuring(config, named, measures)

    def recompute(
        self,
        context: Context,
        done: AcceptedWork,
        policy: Policy,
        progress: Progress,
        _chosen: Chosen,
    ) -> Finding:
        """See `Auditor`; what the record itself does not allow is a finding, too. Limits are of whole answers, so no
        part is looked at alone.
        """
        spec, answer = done.spec, done.answer
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise WorkFailed(f"{done.work} is {spec.kind} work, expected rollout")
        if not self._is_cited:
            return Finding(0, cannot="calibration")
        try:
            self._measuring.use(policy)
        except (WrongWeights, BadWeights, WorkFailed):
            return Finding(0, cannot="weights")
        try:
            groups = _sampled(context, self._pace, done, spec, answer)
            asked = requests_of(
                spec,
                self._pace,
                lambda blob: context.blobs[blob.digest].read_bytes(),
                self._wording,
            )
            recorded = [
                Recorded(request, dict(enumerate(groups[group])))
                for group, request in zip(spec.groups, asked, strict=True)
            ]
            return self._measuring.measure(recorded, progress)
        except (BadPayload, BadClaim, BadFingerprint, *CANNOT_BE_REPLAYED):
            return Finding(0, cannot="record")


def _sampled(
    context: Context, pace: RlPace, done: AcceptedWork, spec: RolloutSpec, answer: RolloutAnswer
) -> dict[int, list[Rollout]]:
    """What was answered, by group. Raises BadPayload."""
    bounds = bounds_of(pace, work=done.work, policy=spec.policy, num_groups=len(spec.groups))
    sampled = unpack_rollouts(context.blobs[answer.result.digest].read_bytes(), bounds)
    return dict(zip(spec.groups, sampled, strict=True))
