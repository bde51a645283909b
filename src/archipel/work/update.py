"""Update work (trusted role): from accepted groups to the next policy version and the next prompts."""

from pathlib import Path

from archipel.records.statements import Spec, UpdateSpec
from archipel.training.checkpoint import latest_number
from archipel.work.kind import Answer, Context, Progress, WorkFailed
from archipel.work.learner import Learner

MAX_LEARNERS = 4
"""Runs whose weights and optimiser stay in memory; another one continues from its checkpoint."""


class UpdateKind:
    """Keeps the learners of the runs in work."""

    def __init__(self) -> None:
        self._learners: dict[str, Learner] = {}

    def run(self, spec: Spec, context: Context, progress: Progress) -> Answer:
        """Answer: files `manifest`, `delta` and/or `anchor`, `prompts-<batch>`; values `policy`, `metrics`.

        1 load or restore the learner  2 replay what it missed  3 make the version, or, when an answer
        got lost on its way, give the one made before.
        """
        if not isinstance(spec, UpdateSpec):
            raise WorkFailed(f"expected update work, got {spec.kind}")
        # 1
        learner = self._learner(context)
        # 2
        for version, inputs in context.replay:
            if version == learner.version + 1:
                learner.publish(learner.learn(inputs, context))
                progress({"tokens": version})
        # 3
        if learner.version == spec.version:
            return learner.publish({}) if spec.version == 0 else learner.outbox(spec.version)
        if learner.version != spec.version - 1:
            raise WorkFailed(
                f"the trainer stands at version {learner.version}, version {spec.version} was asked; "
                f"if {learner.memory} belongs to another run of this name, move it away"
            )
        if learner.policy != spec.parent:
            raise WorkFailed(
                f"version {learner.version} is {spec.parent} in the ledger, but this machine makes "
                f"it {learner.policy}: trusted machines of one run must compute alike"
            )
        return learner.publish(learner.learn(context.inputs, context))

    def _learner(self, context: Context) -> Learner:
        """The run's learner; of those that rest longest, all but a few are let go."""
        learner = self._learners.pop(context.run, None) or Learner(context)
        self._learners[context.run] = learner
        for run in list(self._learners)[:-MAX_LEARNERS]:
            self._learners.pop(run).close()
        return learner

    def close(self) -> None:
        """Forget what is in memory; the next work starts from what is on disk."""
        for learner in self._learners.values():
            learner.close()
        self._learners.clear()

    def position(self, run: str, memory: Path) -> int:
        """Version that work on `run` can continue from without replay; -1 for none."""
        if run in self._learners:
            return self._learners[run].version
        return latest_number(memory)
