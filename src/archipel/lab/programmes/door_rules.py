"""The row of a door's work: what a lab asks of any programme. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from archipel import plurals
from archipel.lab.programmes import door
from archipel.lab.programmes.door import Compared, Counts, DoorSlice, blobs_of, course, pace
from archipel.lab.programmes.door_shares import Shares
from archipel.lab.rules import ProgrammeRules
from archipel.lab.state import Phase, Run
from archipel.lab.waits import Sight, leased, nobody
from archipel.records.documents import Wait
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.adapt import WORDS as ADAPT_WORDS
from archipel.records.kinds.sample import WORDS as SAMPLE_WORDS
from archipel.records.programmes import door as words
from archipel.records.table import Table

MAX_WAITS = 16
"""Leases that a run's waits name."""
MAX_SHOWN = 8
"""Newest differences that a run's view tells."""


def _closed(run: Run) -> Run:
    """Nobody asks in it any more, and nothing is kept for the door."""
    return door.with_course(
        run,
        asked=Table(),
        ready=Table(),
        num_adapts=0,
        answered=Table(),
        shares=Shares(),
        ends_ms=0,
    )


def _shows(run: Run) -> Mapping[str, Any]:
    slice_ = course(run)
    counts: Counts = slice_.counts
    return {
        "door": pace(run).door,
        "next_question": slice_.next_number,
        "questions_waiting": len(slice_.asked) - len(slice_.held),
        "questions_in_flight": len(slice_.held),
        "answers_kept": len(slice_.answered),
        "adapted": counts.adapted,
        "sampled": counts.sampled,
        "adapt_tokens": counts.adapt_tokens,
        "sample_tokens": counts.sample_tokens,
        "questions_gone": counts.gone,
        "leases_came_back": counts.came_back,
        "again_same": counts.same,
        "again_different": counts.different,
        "differences": [_told(each) for each in slice_.compared if not each.is_same][-MAX_SHOWN:],
    }


def _told(each: Compared) -> str:
    first, second = each.nodes
    known = {machine for machine in each.machines if machine is not None}
    is_one = len(known) == 1 and None not in each.machines
    where = "machines of one class" if is_one else "machines that need not give the same bits"
    return f"question {each.again}, done by {first}, came out otherwise as question {each.number}, done by {second}: {where}"


def _waits(sight: Sight, run: Run) -> list[Wait]:
    slice_ = course(run)
    found = []
    for work, held in sorted(slice_.held.items(), key=lambda each: each[1].number)[:MAX_WAITS]:
        what = f"question {held.number} is being answered"
        found.append(leased(run, sight.state.leases[work], what, sight.now_ms))
    for kind in (ADAPT_WORDS.name, SAMPLE_WORDS.name):
        number = door.num_ready(run, kind)
        if number:
            verb = "is" if number == 1 else "are"
            what = f"{plurals.counted(number, 'question')} to {kind} {verb} with nobody"
            found.append(_nobody(sight, run, what, kind))
    if found:
        return found
    what, advice = "questions of its door", "the door asks when its tenants do"
    return [Wait(run=run.name, waiting_for=what, owner=pace(run).door, left_s=None, advice=advice)]


def _nobody(sight: Sight, run: Run, what: str, kind: str) -> Wait:
    if kind != ADAPT_WORDS.name or pace(run).adapt == "staked":
        return nobody(sight, run, what, kind, None)
    here = (sight.state.nodes.get(did) for did in run.opened.trusted)
    able = [node for node in here if node and node.present and kind in node.capabilities.kinds]
    if able:
        return nobody(sight, run, what, kind, None)
    return Wait(
        run=run.name,
        waiting_for=what,
        owner=run.opened.trusted[0],
        left_s=None,
        advice="only keys that the run trusts train in it, and none of them is here: start `archipel node join LAB_URL` "
        "with one of them",
    )


def _keeps(run: Run) -> Iterable[BlobRef]:
    slice_ = course(run)
    for held in slice_.held.values():
        yield from held.blobs
    for asked in slice_.asked.values():
        yield from blobs_of(asked.question)
    for kept in slice_.answered.values():
        yield from blobs_of(kept.question)
        yield from WORDS_OF[kept.answer.kind].blobs(kept.answer)


RULES = ProgrammeRules(
    words=words.WORDS,
    slice=DoorSlice,
    begin=lambda given: DoorSlice(),
    begins_in=Phase.RUNNING,
    closed=_closed,
    load=lambda run: len(course(run).held),
    shows=_shows,
    busy_ms=lambda run: 0,
    demand=lambda run: None,
    waits=_waits,
    keeps=_keeps,
    inputs=lambda run, version: None,
    touched=lambda run, spec: (),
    answered_by=lambda run, did: [],
    paid_out=lambda run: (run, ()),
    forfeited=lambda run, work, price_micro: (run, 0),
    withdrawn=lambda run, work: None,
)
