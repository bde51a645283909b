"""When a lab draws audits, and what a draw, a contest or a stop does to its runs. Pure; parts of `decide` and `apply`.

An answer waits for two draws: the first comes after it and is a signature that its author could not foresee, the
second is by a root that holds both.
"""

from functools import partial

from archipel.lab import verdicts
from archipel.lab.audits import (
    audits,
    awaits_draw,
    closed_case,
    decided,
    draw,
    is_at_work,
    terms,
    with_audits,
)
from archipel.lab.cases import Case, Outcome
from archipel.lab.chain import version_of
from archipel.lab.endings import heard
from archipel.lab.providers import account_of
from archipel.lab.risk import rate_micro
from archipel.lab.seeding import MAX_DRAW_LAG, seed_due
from archipel.lab.state import LabState, Phase, Run
from archipel.records.audits import AuditsDrawn, VerdictContested
from archipel.records.changed import changed
from archipel.records.kinds import WORDS_OF
from archipel.records.seeded import RunSeeded
from archipel.records.table import Table

DRAW_EVERY_MS = 500
"""Between two draws: an answer waits for twice that at the most."""


def is_due(state: LabState, size: int, now_ms: int) -> bool:
    """Whether the lab should draw by the root of its first `size` entries."""
    position, at_ms = state.drew
    if now_ms - at_ms < DRAW_EVERY_MS or size <= position:
        return False
    runs = [run for name in state.live if terms(run := state.runs[name]) is not None]
    return any(awaits_draw(run) or _overdue(run, now_ms) for run in runs)


def any_due(state: LabState, size: int, root: bytes, now_ms: int) -> RunSeeded | AuditsDrawn | None:
    """The next draw by this root that is due: of a run's noise, or of audits."""
    return seed_due(state, size, root) or draw_due(state, size, root, now_ms)


def draw_due(state: LabState, size: int, root: bytes, now_ms: int) -> AuditsDrawn | None:
    """A draw by the root of the first `size` entries, if one is due."""
    if not is_due(state, size, now_ms):
        return None
    seq = int(state.sequences.get(state.lab, 0)) + 1
    digest = f"sha256:{root.hex()}"
    return AuditsDrawn(lab=state.lab, author=state.lab, seq=seq, size=size, root=digest)


def drawn(state: LabState, statement: AuditsDrawn, at_ms: int) -> LabState:
    """The state after a draw.

    Raises:
        ValueError: not by the lab, or by a root that does not hold its draw before.
    """
    position, _ = state.drew
    if statement.author != state.lab:
        raise ValueError(f"{statement.author} draws, expected the lab")
    if not max(position, state.size - MAX_DRAW_LAG) < statement.size <= state.size:
        raise ValueError(
            f"a draw by {statement.size} of {state.size} entries; expected more than {position}, and all but "
            f"{MAX_DRAW_LAG} at most"
        )
    drawn_from = state
    for name in state.live:
        run = state.runs[name]
        if terms(run) is None or not is_at_work(run):
            continue
        run = draw(run, statement.root, position, at_ms, partial(rate_micro, drawn_from, run))
        for case in _overdue(run, at_ms):
            run = decided(run, verdicts.lapsed(case, verdicts.UNREACHABLE, at_ms))
        state = heard(changed(state, runs=state.runs.put(name, run)), name, at_ms)
    return changed(state, drew=(state.size, at_ms))


def _overdue(run: Run, now_ms: int) -> list[Case]:
    """Cases that wait for nobody any more: for too long, or of weights that nobody can have."""
    known = terms(run)
    cases = [
        case for case in audits(run).cases.values() if case.holder is None and case.verdict is None
    ]
    if known is None:
        return []
    return sorted(
        (
            case
            for case in cases
            if now_ms - case.opened_at_ms > known.window_ms or not _can_be_had(run, case)
        ),
        key=lambda case: case.answer.entry,
    )


def _can_be_had(run: Run, case: Case) -> bool:
    spec = case.answer.done.spec
    version = WORDS_OF[spec.kind].needs(spec).weights
    return version is None or version_of(run, version) is not None


def stopped(state: LabState, name: str, at_ms: int) -> LabState:
    """A stopped run hands nothing out, so its cases end as they stand."""
    run = state.runs[name]
    if terms(run) is None:
        return state
    known = audits(run)
    run = with_audits(run, known, waiting=Table(), seen=Table(), leases=Table())
    for case in sorted(known.cases.values(), key=lambda case: case.answer.entry):
        case = changed(case, holder=None)
        run = decided(run, verdicts.lapsed(case, "the run was stopped", at_ms))
    return heard(changed(state, runs=state.runs.put(name, run)), name, at_ms)


def why_not_contested(state: LabState, statement: VerdictContested, now_ms: int) -> str | None:
    """Why this contest comes to nothing; None if it does not."""
    run = state.runs.get(statement.run)
    case = None if run is None else closed_case(run, statement.work)
    known = None if run is None else terms(run)
    if run is None or case is None or case.verdict is None or known is None:
        return f"no verdict on {statement.work} is remembered here"
    verdict = case.verdict
    if account_of(state, statement.author) != account_of(state, case.answer.party):
        return f"the verdict on {statement.work} is not about {statement.author}"
    if verdict.outcome not in (Outcome.SOFT, Outcome.HARD):
        return f"the verdict on {statement.work} is {verdict.outcome.value}: there is nothing to contest"
    if verdict.is_final:
        return f"the trusted role decided on {statement.work}: its word is the last"
    if run.phase is Phase.STOPPED:
        return f"run {run.name} was stopped, so nobody looks at {statement.work} again"
    late_ms = now_ms - verdict.at_ms - known.window_ms
    if late_ms > 0:
        return (
            f"the verdict on {statement.work} could be contested until {late_ms / 1000:.0f} s ago"
        )
    return None


def contested(state: LabState, statement: VerdictContested, at_ms: int) -> LabState:
    """The case is open again, for the trusted role alone.

    Raises:
        ValueError: it may not be contested.
    """
    why = why_not_contested(state, statement, at_ms)
    run = state.runs.get(statement.run)
    case = None if run is None else closed_case(run, statement.work)
    if why is not None or run is None or case is None:
        raise ValueError(why)
    known = audits(run)
    again = changed(verdicts.contested(case, statement.reason), opened_at_ms=at_ms)
    rest = tuple(each for each in known.closed if each.work != case.work)
    run = with_audits(run, known, cases=known.cases.put(case.work, again), closed=rest)
    live = state.live if run.name in state.live else (*state.live, run.name)
    return changed(state, runs=state.runs.put(run.name, run), live=live)
