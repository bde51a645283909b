"""Tally in the lab. Pure."""

from dataclasses import dataclass, replace

from archipel.records.programmes.tally import WORDS, TallyPace

from archipel.lab.rules import ProgrammeRules
from archipel.lab.state import Phase, Run


@dataclass(frozen=True, slots=True)
class TallySlice:
    """What was added so far."""

    total: int = 0
    adding: int = 0
    """Leases out."""
    founding: bool = False
    """Whether somebody publishes version 0."""


def course(run: Run) -> TallySlice:
    assert isinstance(run.course, TallySlice)
    return run.course


def pace(run: Run) -> TallyPace:
    assert isinstance(run.opened.pace, TallyPace)
    return run.opened.pace


def with_course(run: Run, slice_: TallySlice) -> Run:
    is_over = slice_.total >= pace(run).enough
    return replace(run, course=slice_, phase=Phase.COMPLETE if is_over else run.phase)


RULES = ProgrammeRules(
    words=WORDS,
    slice=TallySlice,
    begins_in=Phase.PREPARING,
    begin=lambda pace: TallySlice(),
    closed=lambda run: run,
    load=lambda run: course(run).adding,
    shows=lambda run: {"total": course(run).total},
    busy_ms=lambda run: 0,
    demand=lambda run: None,
    waits=lambda sight, run: [],
    keeps=lambda run: (),
    inputs=lambda run, version: None,
    touched=lambda run, spec: (),
    answered_by=lambda run, did: [],
    paid_out=lambda run: (run, ()),
    forfeited=lambda run, work, price_micro: (run, price_micro),
    withdrawn=lambda run, work: None,
)
