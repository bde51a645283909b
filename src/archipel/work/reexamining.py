"""Evaluations of a run made once more by somebody whom nobody has to trust."""

from dataclasses import replace
from pathlib import Path
from typing import Self

from archipel.engine.engine import NonFiniteLogits
from archipel.records.recipe import Recipe
from archipel.work.bases import Ground, read_base
from archipel.work.judging import examination_of, examine_version
from archipel.work.kind import EngineChoice
from archipel.work.policies import Policy
from archipel.work.seats import seated

NoNumbers = NonFiniteLogits
"""What weights can have that nobody can have evaluated."""


class Reexamining:
    """Of one run, by the engine of this package on the processor, as the trusted role has it by default."""

    def __init__(self, recipe: Recipe, secret: bytes | None, model: Path) -> None:
        """model: a directory with all that the run began with; only an adapter's run has its weights read.

        Raises:
            InvalidEnvironment, TaskProcessLost: the environment cannot be made here.
        """
        self._model = model
        self._ground = None
        if recipe.adapter is not None:
            self._ground = Ground(read_base(model), recipe.adapter.form)
        self._examination = examination_of(recipe, model, secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._examination.grader.close()

    def metrics(self, version: int, policy: Policy) -> dict[str, int]:
        """How well these weights do, as an evaluation's answer says it.

        Raises:
            GraderUnavailable: the environment cannot be made here.
            NonFiniteLogits: the weights give no numbers.
            BadWeights: an adapter over other weights than the run's first.
        """
        if self._ground is not None:
            self._ground.check(policy.manifest)
        policy = replace(policy, ground=self._ground)
        contract = self._examination.recipe.sampling.contract
        engine = seated(
            self._model, policy, EngineChoice(), contract, self._examination.recipe.model.backend
        )
        return examine_version(engine, self._examination, version).to_metrics()

    @property
    def faults(self) -> int:
        """Gradings that gave 0 because of a time limit or a crash: they may come out otherwise elsewhere."""
        return sum(self._examination.grader.faults.values())
