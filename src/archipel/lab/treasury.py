"""What of the treasury nobody can have back any more. Pure."""

from archipel.lab.audits import audits, terms
from archipel.lab.cases import Verdict
from archipel.lab.state import LabState
from archipel.market.journal import TREASURY


def free_treasury_micro(state: LabState, at_ms: int) -> int:
    """What it holds beyond stakes that were lost by verdicts which can still be contested, micro-credits."""
    contestable = 0
    for run in state.runs.values():
        known = terms(run)
        if known is None:
            continue
        cases = audits(run)
        for case in (*cases.cases.values(), *cases.closed):
            for verdict in (case.before, case.verdict):
                if verdict is not None and _is_open(verdict, known.window_ms, at_ms):
                    contestable += _lost(verdict)
    return max(int(state.book.get(TREASURY, 0)) - contestable, 0)


def _is_open(verdict: Verdict, window_ms: int, at_ms: int) -> bool:
    """Of a case that is contested the verdict before is open however long that takes."""
    return not verdict.is_final and verdict.at_ms + window_ms >= at_ms


def _lost(verdict: Verdict) -> int:
    return verdict.slashed_micro + sum(micro for _, micro in verdict.fined)
