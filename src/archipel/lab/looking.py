"""Which open case a node that asks may look at. Pure; part of `kinds.audit`.

Law: nobody looks at an answer of its own operator, nor at one that a node of its operator held before.
"""

from collections.abc import Callable

from archipel.lab.audits import audits, terms, usual_ms
from archipel.lab.calling import may_be_called, may_come, turn_of
from archipel.lab.cases import Case, Stage
from archipel.lab.chain import version_of
from archipel.lab.reputation import MAX_REFUTED
from archipel.lab.rules import Asking
from archipel.lab.state import Run
from archipel.records.kinds import WORDS_OF
from archipel.records.words import Needs

TURNS_IN_DEADLINE = 16
"""Whoever is called to an audit is waited for as long as the answer took, as answers take (`usual_ms`), and so much of
an audit's least deadline."""


def oldest_for(asking: Asking) -> Case | None:
    """The oldest open case that this node may look at. Asked of each node that waits: what is told soonest comes first."""
    run, node = asking.run, asking.node
    may_look = _may_judge if node.did in run.opened.trusted else _stranger(asking)
    if may_look is None:
        return None
    oldest: Case | None = None
    for case in audits(run).cases.values():
        if oldest is not None and case.answer.entry >= oldest.answer.entry:
            continue
        if case.wants_trusted and _can_be_had(run, case) and may_look(asking, case):
            oldest = case
    return oldest


def _can_be_had(run: Run, case: Case) -> bool:
    return version_of(run, needs_of(case).weights or 0) is not None


def _may_judge(asking: Asking, case: Case) -> bool:
    """Whether one of the trusted role may look."""
    return is_unrelated(asking, case) and (case.stage is Stage.APPEAL or _nobody_else(asking, case))


def _stranger(asking: Asking) -> Callable[[Asking, Case], bool] | None:
    """Whether anybody else may look at a case; None: at none."""
    run, voters = asking.run, asking.crowd.voters
    if asking.node.standing.refuted >= MAX_REFUTED:
        return None
    known = terms(run)
    least_ms = 0 if known is None else known.deadline_ms // TURNS_IN_DEADLINE
    least_ms = max(least_ms, usual_ms(run))

    def may_look(asking: Asking, case: Case) -> bool:
        did = asking.node.did
        turn = turn_of(case, least_ms, asking.now_ms)
        if not case.wants_strangers or not may_be_called(voters, case, turn, did):
            return False
        involved = _involved(asking, case)
        return did not in involved and may_come(voters, case, turn, did, involved)

    return may_look


def is_unrelated(asking: Asking, case: Case) -> bool:
    """Whether the node may judge this answer: it is of another operator, of which nobody has looked yet."""
    return asking.node.did not in _involved(asking, case)


def _involved(asking: Asking, case: Case) -> frozenset[str]:
    """Whose answer it is and who looked already, with all others of their operators."""
    return frozenset().union(*(asking.here(did) for did in (case.answer.party, *case.tried)))


def _nobody_else(asking: Asking, case: Case) -> bool:
    """Whether no stranger is at work who could look: all who could have, or are the node itself."""
    others = asking.crowd.count - asking.is_counted - len(_involved(asking, case))
    return others <= 0


def needs_of(case: Case) -> Needs:
    """What the audited answer was made from."""
    spec = case.answer.done.spec
    needs: Needs = WORDS_OF[spec.kind].needs(spec)
    return needs
