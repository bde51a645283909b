"""What becomes of contributions once it is known what they were worth: who is paid, and what a verdict takes back. Pure.

Law: what was withheld for a contribution goes to its node or back, once; what was paid for it is remembered as long as a
verdict may be about it.
"""

from collections.abc import Mapping

from archipel.lab.audits import audits, terms
from archipel.lab.programmes.pretrain import MAX_SHOWN, counted, course, with_course
from archipel.lab.rules import Pay
from archipel.lab.state import Run
from archipel.records.changed import changed
from archipel.records.kinds.merge import BLAMELESS, Verdict
from archipel.records.table import Table


def judged(run: Run, verdicts: tuple[Verdict, ...], version: int) -> Run:
    """The run when a merge has said what became of its contributions: they are gone, and their pay is due.

    version: the one that was made, or would have been.
    """
    slice_ = course(run)
    due, refusals, counts = list(slice_.due), list(slice_.refusals), slice_.counts
    paid_for: dict[str, int] = {}
    refused = dict(counts.refused)
    merged = num_late = tokens = 0
    for verdict in verdicts:
        known = slice_.contributions[verdict.work]
        is_paid = verdict.reason is None or verdict.reason in BLAMELESS
        paid = known.withheld_micro if is_paid else 0
        due.append(Pay(known.node, paid, known.withheld_micro - paid))
        if verdict.work not in slice_.settled:  # it was not found wrong meanwhile
            paid_for[verdict.work] = paid
        if verdict.reason is None:
            merged, tokens = merged + 1, tokens + known.answer.num_tokens
            num_late += known.spec.version + 1 < version
        else:
            refused[verdict.reason] = refused.get(verdict.reason, 0) + 1
            refusals.append((version, verdict))
    gone = {verdict.work for verdict in verdicts}
    left = {index: work for index, work in slice_.answered.items() if work not in gone}
    run = with_course(
        run,
        contributions=slice_.contributions.drop(*gone),
        answered=Table(left),
        due=tuple(due),
        refusals=tuple(refusals[-MAX_SHOWN:]),
        counts=changed(counts, refused=refused),
    )
    run = settled(run, paid_for)
    return counted(run, merged=merged, late=num_late, tokens=tokens)


def settled(run: Run, paid_for: Mapping[str, int]) -> Run:
    """The run that remembers what was paid for these contributions, as long as a verdict may be about them."""
    if terms(run) is None:
        return run
    known, slice_ = audits(run), course(run)
    closed = {case.work for case in known.closed}
    told = {**dict(slice_.settled.items()), **paid_for}
    kept = {
        work: paid
        for work, paid in told.items()
        if work in known.waiting or work in known.cases or work in closed
    }
    return with_course(run, settled=Table(kept))


def forfeited(run: Run, work: str, price_micro: int) -> tuple[Run, int]:
    """The run in which nothing more is paid for a contribution that was found wrong, and what was paid for it.

    What is withheld for it goes back; should the verdict be overturned, its node is given that, and it counts as paid.
    """
    slice_ = course(run)
    known = slice_.contributions.get(work)
    if known is None:
        return run, slice_.settled.get(work, 0)
    back = Pay(known.node, 0, known.withheld_micro)
    run = with_course(
        run,
        contributions=slice_.contributions.put(work, changed(known, withheld_micro=0)),
        due=(*slice_.due, back),
    )
    return settled(run, {work: known.withheld_micro}), 0
