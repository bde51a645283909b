"""In a run that is judged by measure: what one more case adds to what is known of its node. Pure; part of `consequences`.

Law: one answer alone, however often it is measured, is no hard verdict; a sum over many is.
"""

from archipel.lab import sums
from archipel.lab.audits import audits, measures, with_audits
from archipel.lab.cases import MAX_REASON, Case, Opinion, Outcome, Verdict
from archipel.lab.state import Run
from archipel.records.changed import changed


def weighed(run: Run, case: Case, verdict: Verdict) -> tuple[Run, Verdict]:
    """The node's sums after this case, which may make its verdict hard."""
    known, by, party = audits(run), measures(run), case.answer.party
    if by is None or verdict.outcome not in (Outcome.VERIFIED, Outcome.SOFT):
        return run, verdict
    if case.before is not None:
        return _weighed_again(run, case, case.before, verdict)
    after = sums.weighed(by, known.sums.get(party, ()), case)
    left = known.sums.drop(party) if party in known.sums else known.sums
    if after.accuses is not None:
        why = sums.reason(by, after.sums, after.accuses, verdict.reason)
        verdict = changed(verdict, outcome=Outcome.HARD, reason=why[:MAX_REASON])
    elif after.sums:
        left = left.put(party, after.sums)
    return with_audits(run, known, sums=left), verdict


def _weighed_again(run: Run, case: Case, before: Verdict, verdict: Verdict) -> tuple[Run, Verdict]:
    """A contested case was counted when it closed first: a sum stands if its last answer is odd to the trusted role,
    too; who was accused or found wrong for nothing begins anew.
    """
    known, by, party = audits(run), measures(run), case.answer.party
    if by is not None and before.outcome is Outcome.HARD and sums.is_confirmed(by, case):
        return run, changed(verdict, outcome=Outcome.HARD)
    if verdict.outcome is Outcome.VERIFIED and party in known.sums:
        run = with_audits(run, known, sums=known.sums.drop(party))
    return run, verdict


def is_refuted(run: Run, case: Case, opinion: Opinion) -> bool:
    """Whether an opinion that the verdict contradicts is a false one: of two who measured the same answer near a limit
    both may be right.
    """
    by, own = measures(run), opinion.measured
    told = [each.measured for each in sums.told_of(case) if each.measured is not None]
    if by is None or own is None or not told:
        return True
    return any(sums.are_apart(own, each, by) for each in told)
