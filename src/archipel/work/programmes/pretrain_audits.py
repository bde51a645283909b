"""Pretraining: contributions of others made again, step by step, from the version and the text that they were made from."""

from archipel.model.config_files import InvalidModel, read_config
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.inner.stepping import TooFewWindows, WrongBase
from archipel.training.inner.windows import BadWindows
from archipel.work.assigned import Texts
from archipel.work.contributing import widened
from archipel.work.engines import device_of
from archipel.work.kind import Context, EngineChoice, Progress, WorkFailed
from archipel.work.policies import Policy
from archipel.work.programme import Auditor, Chosen, Finding
from archipel.work.repeating import Repeating


def auditor(context: Context, choice: EngineChoice) -> Auditor:
    """One that trains where its node trains: bits repeat on one class of machine.

    Raises:
        WorkFailed: the run's model cannot be trained. MachineUnfit: the device is not here.
    """
    return Auditor(recompute=_Contributions(context, choice).recompute)


class _Contributions:
    """Makes contributions to one run again."""

    def __init__(self, context: Context, choice: EngineChoice) -> None:
        self._pace = context.pace_as(PretrainPace)
        self._texts = Texts()
        try:
            config = read_config(context.model)
            versions = context.opened.terms.versions
            self._repeating = Repeating(config, self._pace, versions, device_of(choice))
        except (InvalidModel, ValueError) as error:
            raise WorkFailed(f"the model of {context.run} cannot be trained: {error}") from None

    def recompute(
        self,
        context: Context,
        done: AcceptedWork,
        policy: Policy,
        progress: Progress,
        _chosen: Chosen,
    ) -> Finding:
        """See `Auditor`. All of a contribution is made again: who lies in its payload alone is honest in every step."""
        spec, answer = done.spec, done.answer
        if not isinstance(spec, InnerStepSpec) or not isinstance(answer, InnerStepAnswer):
            raise WorkFailed(f"{done.work} is {spec.kind} work, expected inner_step")
        if policy.manifest.state != spec.policy:
            return Finding(0, cannot="weights")
        batches = self._texts.of(spec, context, self._pace)
        payload = context.blobs[answer.payload.digest].read_bytes()
        try:
            return self._repeating.compare(
                spec, answer, widened(policy.state), batches, payload, progress
            )
        except (WrongBase, BadWindows, TooFewWindows):
            return Finding(0, cannot="record")
