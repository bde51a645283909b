"""Audit work: somebody else's accepted answer, recomputed under the exact contract and compared bit by bit; in a run of
floating point measured by one prefill; a contribution made again.
"""

from pathlib import Path

from archipel.engine.exact.proof import prove
from archipel.records.audits import looked_at
from archipel.records.kinds.audit import AuditSpec
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    MachineUnfit,
    Progress,
    WorkFailed,
    has_nothing_to_end,
    remembers_nothing,
)
from archipel.work.policies import Policies
from archipel.work.programme import Auditor, Chosen, Finding
from archipel.work.programmes import auditor_of
from archipel.work.recent import Recent
from archipel.work.replaying import UnknownContract

PROCESSOR = "cpu"
"""Whatever a node samples on, it audits on its processor: the contract gives the same bits there."""


def make(choice: EngineChoice) -> Kind:
    """A fresh one."""
    return Kind(
        run=AuditsDone(choice).run,
        remembers=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


def _chosen_by(spec: AuditSpec) -> Chosen:
    """The rollouts to recompute, by group; the same for everybody who looks at this answer."""
    part = spec.part
    if part is None:
        return lambda group, num: range(num)
    return lambda group, num: looked_at(part.root, spec.record, group, num, part.milli)


class AuditsDone:
    """Keeps weights and auditors of the runs audited in lately."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._auditors: Recent[Path, Auditor] = Recent()
        self._proven: tuple[str, ...] | None = None

    def run(self, spec: AuditSpec, context: Context, progress: Progress) -> Answer:
        """Answer: values `says`, `positions`, and `difference`, `measured` or `cannot`.

        Raises:
            MachineUnfit: this machine misses the contract's own vectors, so it can blame nobody.
        """
        try:
            self._require(context)
            found = self._found(spec, context, progress)
        except UnknownContract:
            found = Finding(0, cannot="contract")
        values: dict[str, object] = {"positions": found.positions, "says": "agree"}
        if found.difference is not None:
            values |= {"says": "differs", "difference": found.difference.model_dump(mode="json")}
        elif found.cannot is not None:
            values |= {"says": "cannot", "cannot": found.cannot}
        if found.measured is not None:
            values["measured"] = found.measured.model_dump(mode="json")
        return Answer({}, values)

    def _found(self, spec: AuditSpec, context: Context, progress: Progress) -> Finding:
        if len(context.inputs) != 1 or context.inputs[0].work != spec.work:
            raise WorkFailed(f"an audit of {spec.work} came with {len(context.inputs)} answers")
        policy = self._policies.advance(context, spec.policy)
        auditor = self._auditors.get(context.model)
        if auditor is None:
            self._auditors.make_room(context.model)
            auditor = auditor_of(context, self._choice)
            self._auditors.put(context.model, auditor)
        return auditor.recompute(context, context.inputs[0], policy, progress, _chosen_by(spec))

    def _require(self, context: Context) -> None:
        if context.contract is None:
            return  # nothing is compared to the bit, and one auditor alone condemns nobody
        if self._proven is None:
            self._proven = prove(PROCESSOR).contracts
        if context.contract not in self._proven:
            raise MachineUnfit(
                f"this machine does not give the known vectors of {context.contract}, so it audits nobody"
            )
