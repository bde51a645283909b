"""The row of pretraining across sites: what a lab asks of any programme. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from archipel import plurals
from archipel.lab.audits import audits, is_at_work, terms
from archipel.lab.programmes import pretrain
from archipel.lab.programmes.pretrain import PretrainSlice, course, pace, with_course
from archipel.lab.programmes.pretrain_paying import forfeited, settled
from archipel.lab.programmes.pretrain_waiting import is_merged_at, may_be_merged, waits_until_ms
from archipel.lab.rules import Pay, ProgrammeRules
from archipel.lab.state import Phase, Run
from archipel.lab.waits import Sight, absent_trainer, leased, nobody
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork, Wait
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.inner_step import WORDS as INNER_STEP_WORDS
from archipel.records.kinds.inner_step import InnerStepSpec
from archipel.records.kinds.merge import WORDS as MERGE_WORDS
from archipel.records.programmes import pretrain as words
from archipel.records.table import Table
from archipel.records.words import WorkSpec

WITHDRAWN = "withdrawn"
"""Why a contribution is in no merge that nobody refused: a verdict took it out before."""


def _closed(run: Run) -> Run:
    """Contributions are in the versions that were made; what waited for one when the run ended is paid: nobody found
    anything wrong with it.
    """
    slice_ = course(run)
    left = sorted(slice_.contributions.items())
    due = tuple(Pay(each.node, each.withheld_micro, 0) for _, each in left)
    new = [(work, each.withheld_micro) for work, each in left if work not in slice_.settled]
    return with_course(
        settled(run, dict(new)),
        answered=Table(),
        contributions=Table(),
        due=(*slice_.due, *due),
        made={},
        gates=(),
        memory=None,
    )


def _paid_out(run: Run) -> tuple[Run, tuple[Pay, ...]]:
    due = course(run).due
    return (with_course(run, due=()) if due else run), due


def _shows(run: Run) -> Mapping[str, Any]:
    slice_, counts = course(run), course(run).counts
    return {
        "members": pace(run).members,
        "contributions_answered": counts.answered,
        "contributions_merged": counts.merged,
        "contributions_refused": dict(sorted(counts.refused.items())),
        "contributions_late": counts.late,
        "contributions_in_flight": len(slice_.held) + len(slice_.behind),
        "contributions_at_hand": len(slice_.contributions),
        "merges_void": counts.void,
        "tokens": counts.tokens,
        "payload_bytes": counts.payload_bytes,
        "refused_last": [
            f"{verdict.work}, not in version {version}: {verdict.reason}"
            for version, verdict in slice_.refusals
        ],
    }


def _waits(sight: Sight, run: Run) -> list[Wait]:
    slice_ = course(run)
    if slice_.merging is not None:
        what = f"version {run.version + 1} is being merged"
        return [leased(run, sight.state.leases[slice_.merging.work], what, sight.now_ms)]
    if run.phase is Phase.PREPARING or is_merged_at(run, sight.now_ms):
        what = f"nobody has taken the merge to version {run.version + 1}"
        return [absent_trainer(sight, run, what, MERGE_WORDS.name)]
    return [*_deadline_wait(sight, run), *_contribution_waits(sight, run)]


def _deadline_wait(sight: Sight, run: Run) -> list[Wait]:
    """Enough contributions are there, and the others have some time left."""
    until_ms = waits_until_ms(run) if may_be_merged(run) else None
    if until_ms is None:
        return []
    answered, members = len(course(run).answered), pace(run).members
    return [
        Wait(
            run=run.name,
            waiting_for=f"{answered} of {members} contributions to version {run.version} are there",
            owner="the lab",
            left_s=(until_ms - sight.now_ms) / 1000,
            advice="they are merged then without the others",
        )
    ]


def _contribution_waits(sight: Sight, run: Run) -> list[Wait]:
    found = []
    for index, held in sorted(course(run).held.items()):
        what = f"contribution {index} to version {run.version} is being made"
        found.append(leased(run, sight.state.leases[held.work], what, sight.now_ms))
    free = pretrain.free(run)
    if free:
        verb = "is" if len(free) == 1 else "are"
        what = f"{plurals.counted(len(free), 'contribution')} to version {run.version} {verb} with nobody"
        found.append(nobody(sight, run, what, INNER_STEP_WORDS.name, pace(run).needs))
    return found


def _keeps(run: Run) -> Iterable[BlobRef]:
    slice_ = course(run)
    if run.phase in (Phase.PREPARING, Phase.RUNNING) or run.leases or _may_be_judged(run):
        yield from run.opened.pace.named_blobs
    if slice_.memory is not None:
        yield slice_.memory.blob
    yield from slice_.gates
    unmerged = (each.done for each in slice_.contributions.values())
    merged = (each for made in slice_.made.values() for each in made.inputs)
    for work in (*unmerged, *merged):
        yield from WORDS_OF[work.answer.kind].blobs(work.answer)


def _may_be_judged(run: Run) -> bool:
    """Whether a contribution may have to be made again for a verdict: its text has to be there."""
    return terms(run) is not None and (is_at_work(run) or bool(audits(run).closed))


def _inputs(run: Run, version: int) -> tuple[int, tuple[AcceptedWork, ...]] | None:
    made = course(run).made.get(version)
    return None if made is None else (made.grant, made.inputs)


def touched(run: Run, spec: WorkSpec) -> tuple[int, ...]:
    """The version that took this contribution in, or is being made from it; one that was late is in the next instead."""
    if not isinstance(spec, InnerStepSpec):
        raise TypeError(f"an outer step takes in no {spec.kind} work")
    newest = run.version + (course(run).merging is not None)
    return (spec.version + 1,) if spec.version < newest else ()


def answered_by(run: Run, did: str) -> list[str]:
    """Contributions of a node that are in no merge yet."""
    slice_ = course(run)
    taken = slice_.merging.works if slice_.merging else ()
    known = slice_.contributions.items()
    return sorted(work for work, each in known if each.node == did and work not in taken)


def withdrawn(run: Run, work: str) -> tuple[Run, int] | None:
    """The run without a contribution that no merge has taken in: it is made again, and what was withheld goes back."""
    slice_ = course(run)
    known = slice_.contributions.get(work)
    if known is None or (slice_.merging and work in slice_.merging.works):
        return None
    answered = [index for index, each in slice_.answered.items() if each == work]
    refused = dict(slice_.counts.refused)
    refused[WITHDRAWN] = refused.get(WITHDRAWN, 0) + 1
    run = with_course(
        run,
        counts=changed(slice_.counts, refused=refused),
        contributions=slice_.contributions.drop(work),
        answered=slice_.answered.drop(*answered),
        due=(*slice_.due, Pay(known.node, 0, known.withheld_micro)),
    )
    return run, 0


RULES = ProgrammeRules(
    words=words.WORDS,
    slice=PretrainSlice,
    begin=lambda given: PretrainSlice(),
    begins_in=Phase.PREPARING,
    closed=_closed,
    load=lambda run: len(course(run).held) + len(course(run).behind),
    shows=_shows,
    busy_ms=lambda run: course(run).counts.busy_ms,
    demand=lambda run: None,
    waits=_waits,
    keeps=_keeps,
    inputs=_inputs,
    touched=touched,
    answered_by=answered_by,
    paid_out=_paid_out,
    forfeited=forfeited,
    withdrawn=withdrawn,
)
