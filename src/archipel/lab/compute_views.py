"""What a lab shows of pledged compute. Pure; whoever folds the ledger shows the same."""

from collections.abc import Collection, Sequence
from heapq import nlargest
from itertools import islice

from archipel.lab.given import Given
from archipel.lab.state import LabState
from archipel.records.compute_documents import ComputePledgeView, ComputeView
from archipel.records.page_documents import PledgeCounts

HOUR_MS = 3_600_000
WEEK_MS = 168 * HOUR_MS


def compute_view(
    state: LabState, now_ms: int, rows: int, provider: str | None = None
) -> ComputeView:
    """With at most `rows` pledges, those of one provider together; or those of `provider` alone."""
    chosen = sorted(state.compute) if provider is None else [provider]
    found = ((did, each) for did in chosen for each in state.compute.get(did, ()))
    return ComputeView(
        lab=state.lab,
        size=state.size,
        now_ms=now_ms,
        num_pledges=sum(map(len, state.compute.values())),
        pledges=tuple(_shown(did, each, now_ms) for did, each in islice(found, rows)),
    )


def pledge_views(
    state: LabState,
    now_ms: int,
    start: int,
    limit: int,
    purposes: Collection[str] | None = None,
) -> Sequence[ComputePledgeView]:
    """Those that hold first, then the newest. purposes: of a run, whose work counts for them; None: all."""
    found = [((each.holds(now_ms), each.entry), did, each) for did, each in _of(state, purposes)]
    largest = nlargest(start + limit, found, key=lambda each: each[0])[start:]
    return [_shown(did, each, now_ms) for _, did, each in largest]


def pledge_counts(
    state: LabState, now_ms: int, purposes: Collection[str] | None = None
) -> PledgeCounts:
    """The same in a few numbers."""
    found = [each for _, each in _of(state, purposes)]
    holding = [each for each in found if each.holds(now_ms)]
    return PledgeCounts(
        pledges=len(found),
        holding=len(holding),
        hours=sum(each.hours or 0 for each in holding),
        given_ms=sum(each.given_ms for each in holding),
    )


def _of(state: LabState, purposes: Collection[str] | None) -> list[tuple[str, Given]]:
    """Work counts for pledges to the lab, and for those to a purpose of its run."""
    return [
        (did, each)
        for did, known in state.compute.items()
        for each in known
        if purposes is None or each.purpose is None or each.purpose in purposes
    ]


def _shown(did: str, given: Given, now_ms: int) -> ComputePledgeView:
    ends = (now_ms, given.until_ms, given.withdrawn_ms)
    lasted_ms = max(min(each for each in ends if each is not None) - given.at_ms, HOUR_MS)
    return ComputePledgeView(
        provider=did,
        name=given.name,
        entry=given.entry,
        purpose=given.purpose,
        share=given.share,
        hours=given.hours,
        at_ms=given.at_ms,
        until_ms=given.until_ms,
        withdrawn_ms=given.withdrawn_ms,
        holds=given.holds(now_ms),
        given_ms=given.given_ms,
        works=given.works,
        tokens=given.tokens,
        given_hours_a_week=given.given_ms / HOUR_MS * WEEK_MS / lasted_ms,
    )
