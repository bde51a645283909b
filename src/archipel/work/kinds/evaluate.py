"""Evaluate work (trusted role): one policy version, examined as its run's programme does."""

import json
from pathlib import Path

from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    by_contract,
    remembers_nothing,
)
from archipel.work.policies import Policies
from archipel.work.programme import Examiner
from archipel.work.programmes import examiner_of
from archipel.work.recent import Recent
from archipel.work.seats import seated


def make(choice: EngineChoice) -> Kind:
    """A fresh one."""
    exams = Exams(choice)
    return Kind(run=exams.run, remembers=remembers_nothing, close=exams.close, shared=False)


class Exams:
    """Keeps weights and examiners of the runs worked in lately."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._examiners: Recent[Path, Examiner] = Recent(drop=lambda examiner: examiner.close())

    def run(self, spec: EvaluateSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `report`; values `policy`, `metrics`, perhaps `exact`."""
        policy, contract = self._policies.advance(context, spec.policy), context.contract
        examiner = self._examiner(context)
        model, choice, backend = context.model, self._choice, context.backend
        marks = examiner.examine(
            policy, lambda: seated(model, policy, choice, contract, backend), progress
        )
        used = by_contract(contract)
        report = {"version": spec.version, **used, **marks.beside, "metrics": dict(marks.metrics)}
        path = context.scratch / "report.json"
        path.write_text(json.dumps(report))
        values = {"policy": policy.manifest.state, "metrics": dict(marks.metrics), **used}
        return Answer({"report": path}, values)

    def close(self) -> None:
        """End the examiners."""
        self._examiners.clear()

    def _examiner(self, context: Context) -> Examiner:
        examiner = self._examiners.get(context.model)
        if examiner is None:
            self._examiners.make_room(context.model)
            examiner = examiner_of(context)
            self._examiners.put(context.model, examiner)
        return examiner
