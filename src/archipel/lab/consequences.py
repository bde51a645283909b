"""What follows from a verdict: reputation, money, work taken out of batches, quarantine. Pure; part of `apply`.

Law: every movement is a posting, so balances still add up to zero; nothing that a version was trained from, or
is being trained from, is taken back: the verdict says which versions that touched.
"""

from functools import partial

from archipel.lab import accusations, awards, verdicts
from archipel.lab.amends import adjusted, clawed_back, restored, slashed, with_run
from archipel.lab.audits import (
    MAX_WITHDRAWN,
    audits,
    closed,
    decided,
    seen_by,
    terms,
    with_audits,
    with_case,
)
from archipel.lab.cases import Case, Opinion, Outcome, Stage, Verdict
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.providers import account_of, keys_of, standing_of, with_standing
from archipel.lab.reputation import MAX_REFUTED, Quarantine, Standing
from archipel.lab.rules import ProgrammeRules
from archipel.lab.stakes import account, posted
from archipel.lab.state import LabState, Run
from archipel.lab.withheld import paid_out
from archipel.market.journal import TREASURY, Move, Posting
from archipel.records.changed import changed

SLASH = 100
"""A hard verdict costs so many times the price of the answer, as far as the node vouched for its work."""


def carried_out(state: LabState, name: str, at_ms: int) -> LabState:
    """The state when what was just said was heard, and everything that follows from new verdicts has followed."""
    state = _heard(state, name, at_ms)
    for work in audits(state.runs[name]).decided:
        state = _carried_out(state, name, audits(state.runs[name]).cases[work])
    return state


def _heard(state: LabState, name: str, at_ms: int) -> LabState:
    run = state.runs[name]
    known = audits(run)
    if not known.said:
        return state
    run = with_audits(run, known, said=())
    for said in known.said:
        case = audits(run).cases[said.work]
        failed_before = standing_of(state, case.answer.party).failures > 0
        case = verdicts.heard(case, said.opinion, failed_before, at_ms)
        if case.verdict is not None:
            run = decided(run, case)
        else:
            run = with_case(run, case)
            if case.stage is Stage.SEEN:
                run = seen_by(run, said)
    return with_run(state, run)


def _carried_out(state: LabState, name: str, case: Case) -> LabState:
    """0 the sums over the node's audits  1 the verdict before is undone  2 its own consequences  3 those for the
    auditors  4 the case is closed.
    """
    if case.verdict is None:
        raise ValueError(f"the case of {case.work} has no verdict")
    # 0
    run, verdict = accusations.weighed(
        state.runs[name], case, case.verdict, partial(account_of, state)
    )
    state, case = with_run(state, run), changed(case, verdict=verdict)
    if case.before is not None and case.before.outcome is verdict.outcome:
        return _kept(state, name, case, case.before)
    # 1
    if case.before is not None:
        state = _undone(state, case, case.before)
    # 2
    verdict = changed(verdict, touched=_touched(state.runs[name], case))
    if verdict.outcome in (Outcome.SOFT, Outcome.HARD):
        is_hard, did = verdict.outcome is Outcome.HARD, case.answer.party
        state, works, taken = _lost(state, name, case, is_hard)
        state, micro = slashed(state, did, SLASH * case.answer.price_micro * is_hard)
        is_proof = all(each.measured is None for each in case.opinions)
        found_wrong = partial(_found_wrong, name, case.work, verdict, is_proof)
        state = with_standing(state, did, found_wrong)
        state = awards.ended(state, keys_of(state, did))
        verdict = changed(verdict, withdrawn=works, taken=taken, slashed_micro=micro)
    elif verdict.outcome is Outcome.VERIFIED:
        state = with_standing(state, case.answer.party, _verified)
    # 3
    state, struck, fined = _auditors(state, name, changed(case, verdict=verdict))
    # 4
    case = changed(case, verdict=changed(verdict, struck=struck, fined=fined))
    return with_run(state, closed(state.runs[name], case))


def _kept(state: LabState, name: str, case: Case, before: Verdict) -> LabState:
    """The last word is the one before."""
    reason = before.reason if case.verdict is None else case.verdict.reason
    case = changed(case, verdict=changed(before, is_final=True, reason=reason))
    return with_run(state, closed(state.runs[name], case))


def _undone(state: LabState, case: Case, before: Verdict) -> LabState:
    """Pay comes back, quarantine ends, what counted against it counts no more; work that was redone stays so."""
    did, name = case.answer.party, case.answer.done.spec.run
    for run, micro in before.taken:
        state = restored(state, run, did, micro)
    state = posted(
        state, Posting(Move.UNSLASH, TREASURY, account(state, did), before.slashed_micro)
    )
    for auditor, micro in before.struck:
        state = restored(state, name, auditor, micro)
        state = with_standing(
            state, auditor, lambda known: changed(known, refuted=known.refuted - 1)
        )
    for auditor, micro in before.fined:
        state = posted(state, Posting(Move.UNSLASH, TREASURY, account(state, auditor), micro))

    def lifted(known: Standing) -> Standing:
        is_own = known.quarantine is not None and known.quarantine.work == case.work
        return changed(
            known,
            soft=known.soft - (before.outcome is Outcome.SOFT),
            hard=known.hard - (before.outcome is Outcome.HARD),
            failures=0,
            quarantine=None if is_own else known.quarantine,
        )

    return with_standing(state, did, lifted)


def _lost(
    state: LabState, name: str, case: Case, is_hard: bool
) -> tuple[LabState, tuple[str, ...], tuple[tuple[str, int], ...]]:
    """No pay for the answer, and of a hard verdict for none that can still be done again, in any run.

    Returns the state, the works that are done again, and what was taken back in each run.
    """
    did, price = case.answer.party, case.answer.price_micro
    parties = keys_of(state, did)
    works: list[str] = []
    taken: list[tuple[str, int]] = []
    for each in {name: None} | (dict.fromkeys(state.live) if is_hard else {}):
        found = _answered(state.runs[each], parties) if is_hard else []
        own = [case.work] if each == name else []
        run, paid = state.runs[each], 0
        if own:  # all of it is lost, learned from or not
            run, paid = _programme(run).forfeited(run, case.work, price)
            paid -= _back_for(state.runs[each], case.work)
        run, gone, micro = _without(run, [*own, *(w for w in found if w not in own)])
        run, micro = changed(run, paid_micro=run.paid_micro - paid), micro + paid
        run = _dropped(run, parties, gone, is_hard)
        withheld = sum(pay.back_micro for pay in _programme(run).paid_out(run)[1])
        state, run = paid_out(state, run)
        state = clawed_back(with_run(state, run), each, did, micro)
        works += gone
        taken += [(each, micro + withheld)] if micro + withheld else []
    return state, tuple(works), tuple(taken)


def _programme(run: Run) -> ProgrammeRules:
    return PROGRAMME_OF[run.opened.pace.programme]


def _back_for(run: Run, work: str) -> int:
    """What withdrawing this answer gives back of its pay."""
    found = _programme(run).withdrawn(run, work)
    return 0 if found is None else found[1]


def _answered(run: Run, parties: tuple[str, ...]) -> list[str]:
    programme = _programme(run)
    return [work for did in parties for work in programme.answered_by(run, did)]


def _without(run: Run, works: list[str]) -> tuple[Run, list[str], int]:
    """The run without those of these answers that can be done again; these, and what was paid for them."""
    programme = _programme(run)
    gone, total = [], 0
    for work in works:
        found = programme.withdrawn(run, work)
        if found is not None:
            run, micro = found
            gone.append(work)
            total += micro
    return run, gone, total


def _found_wrong(
    name: str, work: str, verdict: Verdict, is_proof: bool, known: Standing
) -> Standing:
    """is_proof: it was recomputed to the bit; the trusted role's word on another such answer then is the second."""
    is_hard = verdict.outcome is Outcome.HARD
    return changed(
        known,
        verified=0,
        soft=known.soft + (not is_hard),
        hard=known.hard + is_hard,
        failures=known.failures + (verdict.by_trusted and is_proof),
        quarantine=Quarantine(name, work, verdict.at_ms) if is_hard else known.quarantine,
    )


def _dropped(run: Run, parties: tuple[str, ...], works: list[str], is_hard: bool) -> Run:
    """What was withdrawn needs no audit any more; of a party that is believed no more nothing does."""
    if terms(run) is None:
        return run
    known = audits(run)
    gone = [
        work
        for work, answer in known.waiting.items()
        if work not in known.seen and (work in works or (is_hard and answer.party in parties))
    ]
    moot = [work for work in known.cases if work in works and work not in known.decided]
    leases = [work for work, audited in known.leases.items() if audited in moot]
    return with_audits(
        run,
        known,
        waiting=known.waiting.drop(*gone),
        cases=known.cases.drop(*moot),
        leases=known.leases.drop(*leases),
        withdrawn=(*known.withdrawn, *works)[-MAX_WITHDRAWN:],
    )


Amounts = tuple[tuple[str, int], ...]
"""(key, micro-credits)"""


def _auditors(state: LabState, name: str, case: Case) -> tuple[LabState, Amounts, Amounts]:
    """Who said otherwise is not paid, and believed less; whom others confirm is believed more.

    Where a decoy has shown it already, once is enough. Returns the state, pay that went back, and what was lost of stakes.
    """
    if case.planted:
        return state, (), ()
    struck, fined = [], []
    for opinion in verdicts.wronged(case):
        if not accusations.is_refuted(state.runs[name], case, opinion):
            continue
        state, micro = refuted(state, name, opinion)
        struck.append((opinion.auditor, opinion.price_micro))
        fined += [(opinion.auditor, micro)] if micro else []
    for opinion in verdicts.upheld(case):
        state = confirmed(state, opinion)
    return state, tuple(struck), tuple(fined)


def refuted(state: LabState, name: str, opinion: Opinion) -> tuple[LabState, int]:
    """An audit turned out to be false: no pay; from the second on, which are two failures, a part of the stake goes.

    Returns the state, and that part.
    """
    did = opinion.auditor
    state = clawed_back(state, name, did, opinion.price_micro)
    state = adjusted(state, name, -opinion.price_micro)
    state = with_standing(state, did, _refuted)
    is_hard = standing_of(state, did).refuted >= MAX_REFUTED
    return slashed(state, did, SLASH * opinion.price_micro * is_hard)


def doubted(state: LabState, name: str, opinion: Opinion) -> LabState:
    """One party alone, a decoy, says that an audit was false: no pay, and its teller is to be watched; no more than that,
    however often. Hard consequences take two.
    """
    did = opinion.auditor
    state = clawed_back(state, name, did, opinion.price_micro)
    state = adjusted(state, name, -opinion.price_micro)
    return with_standing(state, did, _doubted)


def confirmed(state: LabState, opinion: Opinion) -> LabState:
    """An audit turned out to be true."""
    return with_standing(
        state, opinion.auditor, lambda known: changed(known, confirmed=known.confirmed + 1)
    )


def _verified(known: Standing) -> Standing:
    return changed(known, verified=known.verified + 1, exposed_micro=0, failures=0)


def _refuted(known: Standing) -> Standing:
    """A false audit costs its teller what was built up as a node as well."""
    return changed(known, refuted=known.refuted + 1, confirmed=0, verified=0)


def _doubted(known: Standing) -> Standing:
    return changed(known, refuted=max(known.refuted, 1), confirmed=0, verified=0)


def _touched(run: Run, case: Case) -> tuple[int, ...]:
    return _programme(run).touched(run, case.answer.done.spec)
