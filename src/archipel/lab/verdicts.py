"""From opinions to a verdict: the state machine of a case. Pure.

    FIRST    says it is right         -> SEEN; if the draw of that very audit does not ask for another, VERIFIED
             says it is wrong         -> SECOND
    SECOND   both say it is right     -> VERIFIED
             both find the same wrong -> HARD; both measure it beyond what honest answers reach -> SOFT
             anything else            -> THIRD
    THIRD    whatever it says         -> APPEAL
    any      the trusted role's word  -> the end: VERIFIED, SOFT, HARD, or LAPSED where it cannot tell
    any      MAX_CANNOT cannot tell   -> APPEAL

Law: no verdict from one party alone is worse than SOFT. HARD takes two independent failures: two unrelated
parties, or the trusted role and one, or one and an earlier answer of the same node that the trusted role itself
found wrong. What was measured, not recomputed to the bit, is one failure however many look at it: by itself it is
SOFT, and becomes HARD by the sum over many answers alone (`sums`). A contested verdict goes to APPEAL, and what is said
there is final.
"""

from collections.abc import Iterator

from archipel.lab.cases import MAX_REASON, Case, Opinion, Outcome, Stage, Verdict, found_right
from archipel.records.changed import changed

MAX_CANNOT = 2
"""Strangers who cannot tell, before the trusted role is asked."""
UNREACHABLE = "its weights can no longer be had, or nobody came to look"


def heard(case: Case, opinion: Opinion, failed_before: bool, at_ms: int) -> Case:
    """The case after one more opinion, perhaps with its verdict.

    failed_before: the trusted role has found an answer of the same node wrong since it was verified last.
    """
    case = changed(case, opinions=(*case.opinions, opinion), holder=None)
    if opinion.is_trusted:
        return changed(case, verdict=_last_word(case, opinion, failed_before, at_ms))
    if opinion.says == "cannot":
        num = sum(each.says == "cannot" for each in case.opinions)
        return changed(case, stage=Stage.APPEAL) if num >= MAX_CANNOT else case
    match case.stage:
        case Stage.FIRST:
            stage = Stage.SEEN if opinion.says == "agree" else Stage.SECOND
            return changed(case, stage=stage)
        case Stage.SECOND:
            outcome = _of_two(case)
            if outcome is None:
                return changed(case, stage=Stage.THIRD)
            return changed(case, verdict=_verdict(case, outcome, at_ms))
        case _:
            return changed(case, stage=Stage.APPEAL)


def _of_two(case: Case) -> Outcome | None:
    """What two who could tell come to, if they say the same."""
    first, second = _told(case)[-2:]
    if first.says == second.says == "agree":
        return Outcome.VERIFIED
    if first.auditor == second.auditor:
        return None
    if _is_measured(first) and _is_measured(second) and first.says == second.says:
        return Outcome.SOFT
    same = first.difference is not None and first.difference == second.difference
    return Outcome.HARD if same and not _is_measured(first) else None


def _is_measured(opinion: Opinion) -> bool:
    return opinion.measured is not None


def _last_word(case: Case, word: Opinion, failed_before: bool, at_ms: int) -> Verdict:
    others = [each for each in _told(case) if each.auditor != word.auditor]
    accusers = [each for each in others if each.says == "differs"]
    if word.says == "agree":
        outcome = Outcome.VERIFIED
    elif word.says == "differs":
        is_proof = not _is_measured(word) and (accusers or failed_before)
        outcome = Outcome.HARD if is_proof else Outcome.SOFT
    else:
        outcome = _unsettled(case)
    return _verdict(case, outcome, at_ms)


def _unsettled(case: Case) -> Outcome:
    """Nobody else will tell: what one has found stands, if nobody says otherwise."""
    said = {each.says for each in _told(case)}
    return Outcome.SOFT if said == {"differs"} else Outcome.LAPSED


def lapsed(case: Case, why: str, at_ms: int) -> Case:
    """The case when nobody comes to look any more; a contested verdict then stands."""
    if case.before is not None:
        return changed(case, verdict=changed(case.before, is_final=True))
    outcome = Outcome.VERIFIED if case.stage is Stage.SEEN else _unsettled(case)
    verdict = _verdict(case, outcome, at_ms)
    reason = verdict.reason if outcome is not Outcome.LAPSED else why
    return changed(case, verdict=changed(verdict, reason=reason[:MAX_REASON]))


def contested(case: Case, reason: str) -> Case:
    """A closed case, opened again for the trusted role."""
    return changed(
        case, stage=Stage.APPEAL, contested=reason, verdict=None, before=case.verdict, holder=None
    )


def wronged(case: Case) -> Iterator[Opinion]:
    """Opinions of strangers that the verdict contradicts."""
    yield from (each for each in of_strangers(case) if _is_with(case, each) is False)


def upheld(case: Case) -> Iterator[Opinion]:
    """Opinions of strangers that somebody else confirms."""
    if len(_told(case)) > 1:
        yield from (each for each in of_strangers(case) if _is_with(case, each))


def _is_with(case: Case, opinion: Opinion) -> bool | None:
    """Whether the verdict is what this opinion says; None where it says nothing of that."""
    verdict = case.verdict
    if verdict is None or verdict.outcome is Outcome.LAPSED:
        return None
    if verdict.outcome is Outcome.VERIFIED:
        return opinion.says == "agree"
    if verdict.outcome is Outcome.SOFT and not verdict.by_trusted:
        return None  # one alone said so: it shows nothing of anybody else
    return opinion.says == "differs"


def of_strangers(case: Case) -> Iterator[Opinion]:
    """Opinions of strangers who could tell."""
    return (each for each in _told(case) if not each.is_trusted)


def _told(case: Case) -> list[Opinion]:
    """Opinions of those who could tell."""
    return [each for each in case.opinions if each.says != "cannot"]


def _verdict(case: Case, outcome: Outcome, at_ms: int) -> Verdict:
    is_last = any(each.is_trusted and each.says != "cannot" for each in case.opinions)
    return Verdict(outcome, _reason(case, outcome)[:MAX_REASON], at_ms, is_last, is_final=is_last)


def _reason(case: Case, outcome: Outcome) -> str:
    """For whoever it falls on: what was found, by whom."""
    if outcome is Outcome.VERIFIED:
        return found_right(case)
    if outcome is Outcome.LAPSED:
        why = sorted({str(each.cannot) for each in case.opinions if each.cannot is not None})
        return f"nobody could tell ({', '.join(why)})" if why else UNREACHABLE
    found = [each for each in case.opinions if each.difference is not None]
    best = next((each for each in found if each.is_trusted), found[0])
    said = {each.auditor: each.is_trusted for each in found}
    by = ", ".join(
        f"{'the trusted role ' if role else ''}..{did[-12:]}" for did, role in said.items()
    )
    return f"{best.difference}; found by {by}"
