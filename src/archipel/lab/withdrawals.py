"""Works that verdicts took out of a run before anything was made from them, and why. Pure.

Law: what is in no version is no fault of the run's; who reads the run has to know it by name all the same.
"""

from archipel.lab.audits import audits
from archipel.lab.cases import Case, Outcome, Verdict
from archipel.lab.state import LabState

UNTOLD = "a verdict that the lab's state has no words of any more; the ledger has all"


def withdrawals(state: LabState, name: str) -> dict[str, str]:
    """Work of the run -> the verdict that took it out, in words; a verdict of another run may have."""
    run = state.runs.get(name)
    if run is None:
        return {}
    found = dict.fromkeys(audits(run).withdrawn, UNTOLD)
    for each in state.runs.values():
        known = audits(each)
        for case in (*known.closed, *known.cases.values()):
            for verdict in filter(None, (case.verdict, case.before)):
                own = (work for work in verdict.withdrawn if work.rpartition(".")[0] == name)
                found |= {work: _words(case, verdict) for work in own}
    return found


def _words(case: Case, verdict: Verdict) -> str:
    said = f"a {verdict.outcome.value} verdict on {case.work}: {verdict.reason}"
    if case.verdict is not None and case.verdict.outcome is Outcome.VERIFIED:
        said += "; contested, and found right when it was done again already"
    return said
