"""What a lab shows of who owns a run. Pure; whoever folds the ledger shows the same."""

from archipel.lab import voting
from archipel.lab.charters import charter_of
from archipel.lab.owners import Decision, Owned, Vote
from archipel.lab.owning import funded, why_not_divided, would_hold
from archipel.lab.state import LabState, Run
from archipel.lab.voting import Counting
from archipel.market.journal import run_treasury
from archipel.market.voting import Count
from archipel.records.ownership_documents import HolderView, MeterView, OwnershipView, VoteView


def shares(state: LabState, run: Run) -> dict[str, int]:
    """Holder -> units of a run with a charter; before the division, what each would have if it were now.

    Raises:
        NoCharter: it has no owners.
    """
    charter_of(run)
    owned: Owned = state.owned[run.name]
    return dict(owned.held) if owned.issued else would_hold(state, run)


def ownership_view(
    state: LabState, run: Run, now_ms: int, rows: int, counting: Counting = voting.count_of
) -> OwnershipView:
    """At most `rows` holders. Votes whose time is over are shown as the next entry will find them decided.

    Raises:
        NoCharter: it has no owners.
    """
    charter, size = charter_of(run), state.size
    state = voting.counted(state, now_ms, counting)
    owned: Owned = state.owned[run.name]
    held, given = shares(state, run), funded(state, run)
    by_units = sorted(held.items(), key=lambda each: (-each[1], each[0]))
    open_votes = [_vote(each, "open", counting(owned, charter, each)) for each in owned.votes]
    decided = [
        _vote(each, "adopted" if each.count.is_adopted else "rejected", each.count, each.undone)
        for each in reversed(owned.decided)
    ]
    return OwnershipView(
        run=run.name,
        size=size,
        now_ms=now_ms,
        charter=charter,
        is_divided=bool(owned.issued),
        why_not=None if owned.issued else why_not_divided(run, now_ms),
        issued_entry=owned.issued_entry,
        num_holders=len(held),
        holders=tuple(
            HolderView(
                holder=holder,
                units=units,
                issued_units=owned.issued.get(holder, 0),
                earned_micro=owned.earned.get(holder, 0),
                funded_micro=given.get(holder, 0),
                trusts=owned.delegates.get(holder),
            )
            for holder, units in by_units[:rows]
        ),
        treasury_micro=int(state.book.get(run_treasury(run.name), 0)),
        votes=(*open_votes, *decided),
        meters=_meters(state, run.name),
    )


def _meters(state: LabState, run: str) -> tuple[MeterView, ...]:
    """Whose receipts count for a run."""
    return tuple(
        MeterView(
            meter=did,
            weights=each.weights,
            receipts=each.number,
            due_micro=each.due_micro,
            paid_micro=each.paid_micro,
        )
        for did, each in sorted(state.meters.items())
        if each.run == run
    )


def _vote(vote: Vote | Decision, phase: str, count: Count, undone: str = "") -> VoteView:
    said = vote.said
    spending = said.spending
    return VoteView(
        entry=vote.entry,
        author=said.author,
        about=said.about,
        text=said.text,
        licence=said.licence,
        price_micro=said.price_micro,
        recipe=said.recipe,
        spend_to=None if spending is None else spending.to,
        spend_units=None if spending is None else spending.units,
        spend_micro=None if spending is None else spending.micro,
        until_ms=vote.until_ms,
        phase=phase,
        all=count.all,
        yes=count.yes,
        no=count.no,
        abstain=count.abstain,
        undone=undone,
    )
