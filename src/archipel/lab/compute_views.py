"""What a lab shows of pledged compute. Pure; whoever folds the ledger shows the same."""

from itertools import islice

from archipel.lab.given import Given
from archipel.lab.state import LabState
from archipel.records.compute_documents import ComputePledgeView, ComputeView

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
