"""Evaluate work (trusted role): one policy version on the held-out tasks."""

import json
from pathlib import Path

from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.recipe import Recipe
from archipel.training.evaluation import evaluation_tasks
from archipel.work.engines import make_engine
from archipel.work.judging import DEV, Examination, examination_of, examine
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    remembers_nothing,
)
from archipel.work.policies import Policies
from archipel.work.recent import Recent


def make(choice: EngineChoice) -> Kind:
    """A fresh one."""
    exams = Exams(choice)
    return Kind(run=exams.run, position=remembers_nothing, close=exams.close, shared=False)


class Exams:
    """Keeps weights and graders between works."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._examinations: Recent[Path, Examination] = Recent(
            drop=lambda each: each.grader.close()
        )

    def run(self, spec: EvaluateSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `report`; values `policy`, `metrics`."""
        policy = self._policies.advance(context, spec.policy)
        examination = self._examination(context)
        engine = make_engine(context.model, policy.state, self._choice)
        section = examination.recipe.evaluation
        tasks = evaluation_tasks(examination.environment, DEV, section.num_tasks)
        samples = section.samples_per_task if section.samples_per_task > 1 else 0
        result = examine(engine, examination, tasks, spec.version, samples, progress)
        metrics = result.to_metrics()
        path = context.scratch / "report.json"
        path.write_text(json.dumps({"version": spec.version, "split": DEV, "metrics": metrics}))
        return Answer({"report": path}, {"policy": policy.manifest.state, "metrics": metrics})

    def close(self) -> None:
        """End the graders."""
        self._examinations.clear()

    def _examination(self, context: Context) -> Examination:
        model = context.model
        examination = self._examinations.get(model)
        if examination is None:
            self._examinations.make_room(model)
            examination = examination_of(context.recipe_as(Recipe), model, context.secret)
            self._examinations.put(model, examination)
        return examination
