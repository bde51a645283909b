"""Auditors are audited with planted work (`records.plants`): what a reveal shows of those who looked at it. Pure.

Laws: a reveal takes nothing back from whom the verdicts were about: a decoy stays what they made of it, so no cheat is
saved by being called a decoy. It says only what auditors should have said, and costs those who said otherwise: their pay,
where it is the decoy's word alone, which may be a lie of whoever committed to it; as any false audit, where another
stranger said of the same answer what the decoy says.
"""

from collections.abc import Iterator

from archipel.lab import refusals, verdicts
from archipel.lab.amends import with_run
from archipel.lab.audits import audits, remembered, terms, with_audits
from archipel.lab.cases import Case, Opinion
from archipel.lab.consequences import confirmed, doubted, refuted
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Run
from archipel.records.changed import changed
from archipel.records.plants import PlantsCommitted, PlantsRevealed, commitment, is_planted

MAX_PLANTS = 64
"""Commitments of one run that are not revealed."""


def admit(state: LabState, said: PlantsCommitted | PlantsRevealed) -> None:
    """Refuse a commitment of a stranger's, and a reveal of what was never committed to."""
    run = state.runs.get(said.run)
    if run is None:
        raise refusals.Unknown(f"no run {said.run}")
    if isinstance(said, PlantsCommitted) and not _may_commit(state, run, said.author):
        raise refusals.NotAllowed(
            f"{said.author} is neither an operator of this lab nor trusted in {run.name}"
        )
    why = why_not(state, said)
    if why is None:
        return
    if isinstance(said, PlantsCommitted) and said.digest in audits(run).plants:
        raise refusals.CommittedBefore(why)
    raise refusals.Conflict(why)


def why_not(state: LabState, said: PlantsCommitted | PlantsRevealed) -> str | None:
    """Why it cannot be said; None if it can."""
    run = state.runs.get(said.run)
    if run is None or terms(run) is None:
        return f"run {said.run} is not audited, so nobody looks at what is planted in it"
    if run.opened.pace.audit is not None and run.opened.pace.audit.measures is not None:
        return (
            f"run {said.run} is judged by measure, which one bit of a log-probability does not move"
        )
    if run.opened.pace.exact is None:
        return f"answers of run {said.run} have no log-probability of which a bit could be planted"
    known = audits(run).plants
    if isinstance(said, PlantsCommitted):
        if not _may_commit(state, run, said.author):
            return f"{said.author} plants in {run.name} and is not trusted there"
        if said.digest in known:
            return "this was committed to before; a decoy has a secret of its own"
        if len(known) >= MAX_PLANTS:
            return f"{MAX_PLANTS} decoys of {run.name} are not revealed; reveal one first"
        return None
    if _digest(said) not in known:
        return (
            "no commitment in this run is to this key, secret and share; it is revealed once, by the decoy itself, and "
            "never before it was committed to"
        )
    return None


def _may_commit(state: LabState, run: Run, did: str) -> bool:
    return did in run.opened.trusted or did in state.operators


def said(state: LabState, statement: PlantsCommitted | PlantsRevealed) -> LabState:
    """The state after a commitment or a reveal.

    Raises:
        ValueError: it cannot be said.
    """
    why = why_not(state, statement)
    if why is not None:
        raise ValueError(why)
    run = state.runs[statement.run]
    if isinstance(statement, PlantsRevealed):
        return _revealed(state, run, statement)
    known = audits(run)
    plants = known.plants.put(statement.digest, state.size)
    return with_run(state, with_audits(run, known, plants=plants))


def _revealed(state: LabState, run: Run, said: PlantsRevealed) -> LabState:
    """Of each answer of the decoy since the commitment whose case is remembered, what its auditors should have said."""
    known, digest = audits(run), _digest(said)
    since = known.plants[digest]
    state = with_run(state, with_audits(run, known, plants=known.plants.drop(digest)))
    for case in _looked_at(run, said.author, since):
        state = _shown(state, run.name, case, is_planted(said.secret, case.work, said.share_milli))
    return state


def _looked_at(run: Run, did: str, since: int) -> Iterator[Case]:
    """Cases over answers of the decoy, the oldest first, of which none was shown before."""
    cases = [*audits(run).closed, *audits(run).cases.values()]
    own = [each for each in cases if each.answer.party == did and each.answer.entry > since]
    yield from sorted(
        (each for each in own if not each.planted), key=lambda each: each.answer.entry
    )


def _shown(state: LabState, name: str, case: Case, is_wrong: bool) -> LabState:
    """1 who said otherwise is not paid, and believed less  2 whom nobody else confirmed is believed more  3 the case says
    that it was planted.
    """
    right = "differs" if is_wrong else "agree"
    verdict = case.verdict
    struck = () if verdict is None else verdict.struck
    upheld = set(verdicts.upheld(case))
    witnesses = {
        account_of(state, each.auditor)
        for each in verdicts.of_strangers(case)
        if each.says == right
    }
    for opinion in verdicts.of_strangers(case):
        # 1
        if opinion.says != right and not _is_struck(opinion, struck):
            if witnesses - {account_of(state, opinion.auditor)}:
                state, _ = refuted(state, name, opinion)
            else:
                state = doubted(state, name, opinion)
        # 2
        elif opinion.says == right and opinion not in upheld:
            state = confirmed(state, opinion)
    # 3
    run = state.runs[name]
    return with_run(state, remembered(run, changed(case, planted=right)))


def _is_struck(opinion: Opinion, struck: tuple[tuple[str, int], ...]) -> bool:
    return any(auditor == opinion.auditor for auditor, _ in struck)


def _digest(said: PlantsRevealed) -> str:
    return commitment(said.run, said.author, said.secret, said.share_milli)
