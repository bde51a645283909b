"""What a lab shows of answers under audit: for pages and for machines, the same cases in the same words. Pure."""

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any

from archipel.lab.audits import audits
from archipel.lab.cases import Case
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Run
from archipel.records.page_documents import AuditView


def cases_of(run: Run) -> list[Case]:
    """Closed ones that are remembered, then open ones, the oldest first."""
    known = audits(run)
    waiting = sorted(known.cases.values(), key=lambda case: case.answer.entry)
    return [*known.closed, *waiting]


def counts_of(run: Run) -> dict[str, Any]:
    """A run's audits in numbers."""
    known = audits(run)
    return {
        "drawn": known.drawn,
        "passed": known.passed,
        "unseen": known.unseen,
        "waiting": len(known.waiting) - len(known.seen),
        "open": len(known.cases),
        "outcomes": dict(known.outcomes),
        "positions_recomputed": known.positions,
    }


def case_facts(run: Run, case: Case) -> dict[str, Any]:
    """One case for machines."""
    verdict = case.verdict
    return {
        "run": run.name,
        "work": case.work,
        "node": case.answer.party,
        "entry": case.answer.entry,
        "stage": case.stage.value,
        "outcome": None if verdict is None else verdict.outcome.value,
        "reason": "" if verdict is None else verdict.reason,
        "final": verdict is not None and verdict.is_final,
        "contested": case.contested,
        "at_ms": None if verdict is None else verdict.at_ms,
        "seconds": None if verdict is None else (verdict.at_ms - case.answer.at_ms) / 1000,
        "planted": case.planted,
        "slashed_micro": 0 if verdict is None else verdict.slashed_micro,
        "touched_versions": [] if verdict is None else list(verdict.touched),
        "withdrawn": [] if verdict is None else list(verdict.withdrawn),
        "taken_back_micro": 0 if verdict is None else sum(micro for _, micro in verdict.taken),
        "opinions": [
            {"auditor": each.auditor, "trusted": each.is_trusted, "says": each.says, "work": each.work}
            for each in case.opinions
        ],
    }  # fmt: skip


def audit_view(state: LabState, run: Run, case: Case) -> AuditView:
    """One case as a page shows it."""
    answer, facts = case.answer, case_facts(run, case)
    party = answer.party
    return AuditView(
        run=run.name,
        work=case.work,
        kind=answer.done.spec.kind,
        node=party,
        operator=account_of(state, party) if party in state.delegations else None,
        stage=facts["stage"],
        answered=answer.entry,
        drawn_ms=case.opened_at_ms,
        looked=tuple(each.auditor for each in case.opinions),
        looks=tuple(each.work for each in case.opinions),
        closed_ms=facts["at_ms"],
        verdict=facts["outcome"],
        reason=facts["reason"],
        slashed_micro=facts["slashed_micro"],
    )


def audit_views(
    state: LabState, runs: Iterable[Run], start: int, limit: int, operator: str | None = None
) -> list[AuditView]:
    """Cases `start` to `start + limit` of these runs, open ones first, then the newest; of one operator's nodes, if it is
    named (a node without one is its own).
    """
    chosen = (
        (run, case)
        for run in runs
        for case in _every(run)
        if operator is None or account_of(state, case.answer.party) == operator
    )
    shown = nsmallest(start + limit, chosen, key=lambda each: _place(*each))
    return [audit_view(state, run, case) for run, case in islice(shown, start, None)]


def _every(run: Run) -> Iterator[Case]:
    known = audits(run)
    yield from known.cases.values()
    yield from known.closed


def _place(run: Run, case: Case) -> tuple[bool, int, int]:
    verdict = case.verdict
    if verdict is None:
        return False, -case.opened_at_ms, -case.answer.entry
    return True, -verdict.at_ms, -case.answer.entry
