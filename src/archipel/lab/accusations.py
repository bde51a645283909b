"""In a run that is judged by measure: what one more case adds to what is known of its node. Pure; part of `consequences`.

Laws: one answer alone, however often it is measured, is no hard verdict; a sum over many is. A sum is about a party
and told by parties (`providers.account_of`): whoever has many keys neither spreads what speaks against it over them,
nor accuses by two of them.
"""

from collections.abc import Callable

from archipel.lab import sums
from archipel.lab.audits import audits, measures, terms, with_audits
from archipel.lab.cases import MAX_REASON, Case, Opinion, Outcome, Verdict
from archipel.lab.state import Run
from archipel.records.changed import changed
from archipel.records.kinds.audit import DISTANCE
from archipel.records.measures import MOST, Measured
from archipel.records.table import Table

Account = Callable[[str], str]
"""Key -> the party that it belongs to."""


def weighed(run: Run, case: Case, verdict: Verdict, account: Account) -> tuple[Run, Verdict]:
    """The party's sums after this case, which may make its verdict hard."""
    known, by, party = audits(run), measures(run), account(case.answer.party)
    if by is None or verdict.outcome not in (Outcome.VERIFIED, Outcome.SOFT):
        return run, verdict
    if case.before is not None:
        return _weighed_again(run, case, case.before, verdict, party)
    after = sums.weighed(by, known.sums.get(party, ()), case, account)
    left = known.sums.drop(party) if party in known.sums else known.sums
    if after.accuses is not None:
        why = sums.reason(by, after.sums, after.accuses, verdict.reason)
        verdict = changed(verdict, outcome=Outcome.HARD, reason=why[:MAX_REASON])
    elif after.sums:
        left = left.put(party, after.sums)
    return with_audits(run, known, sums=left), verdict


def _weighed_again(
    run: Run, case: Case, before: Verdict, verdict: Verdict, party: str
) -> tuple[Run, Verdict]:
    """A contested case was counted when it closed first: a sum stands if its last answer is odd to the trusted role,
    too; who was accused or found wrong for nothing begins anew.
    """
    known, by = audits(run), measures(run)
    if by is not None and before.outcome is Outcome.HARD and sums.is_confirmed(by, case):
        return run, changed(verdict, outcome=Outcome.HARD)
    if verdict.outcome is Outcome.VERIFIED and party in known.sums:
        run = with_audits(run, known, sums=known.sums.drop(party))
    return run, verdict


def handed_over(run: Run, did: str, operator: str) -> Run:
    """The run when what a key did became its operator's: sums about it, and what it told of others.

    Of two sums about one party the greater stays: of either alone holds how seldom it accuses falsely.
    """
    known = audits(run)
    if not known.sums:
        return run
    held = {who: sums.told_by(found, did, operator) for who, found in known.sums.items()}
    own = held.pop(did, ())
    if own:
        held[operator] = sums.greater(held.get(operator, ()), own)
    return with_audits(run, known, sums=Table(held))


def is_refuted(run: Run, case: Case, opinion: Opinion) -> bool:
    """Whether an opinion that the verdict contradicts is a false one: of two who measured the same answer near a limit
    both may be right.
    """
    by, own = measures(run), opinion.measured
    if by is None and own is not None:
        return _is_far_from_right(run, case, own)
    told = [each.measured for each in sums.told_of(case) if each.measured is not None]
    if by is None or own is None or not told:
        return True
    return any(sums.are_apart(own, each, by) for each in told)


def _is_far_from_right(run: Run, case: Case, own: Measured) -> bool:
    """Of who measured a contribution on another class of machine: whether it lies further beyond the limit than the limit
    itself from what was found right. What was found wrong may be near the limit for somebody.
    """
    known = terms(run)
    far = None if known is None else known.distance_nano
    is_right = case.verdict is not None and case.verdict.outcome is Outcome.VERIFIED
    return is_right and own.figures.get(DISTANCE, MOST) > 2 * (far or 0)
