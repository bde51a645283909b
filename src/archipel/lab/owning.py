"""Who owns what a run with a charter makes: pay counted, shares divided once, given on, voted with, paid on. Pure.

Law: one check for the door and for the fold. Shares are divided at the first statement of an owner that comes when the run
is over and none of its verdicts can be contested any more; from then on only transfers and decided spendings move them,
so they always add up to all.
"""

from collections import Counter

from archipel.lab import contributions, joining, refusals, revenue, voting
from archipel.lab.audits import audits, terms
from archipel.lab.cases import Outcome
from archipel.lab.charters import charter_of, with_moved, with_owned
from archipel.lab.escrow import is_over
from archipel.lab.money import balance_micro, free_micro
from archipel.lab.owners import Owned
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Phase, Run
from archipel.market.journal import Move, Posting, post, run_treasury, wallet
from archipel.market.ownership import divided
from archipel.records.changed import changed
from archipel.records.ownership import (
    BallotCast,
    MeterNamed,
    Owning,
    ProposalOpened,
    RevenueEntered,
    ShareTransferred,
    TreasuryGiven,
    VoteDelegated,
)
from archipel.records.recipe_charter import MILLION, UNITS
from archipel.records.table import Table
from archipel.records.withdrawal import ContributionWithdrawn

LEAST_GIVEN = UNITS // MILLION
"""Units of a transfer, unless it is all that there is: nobody fills the state with holders of next to nothing."""


def admit(state: LabState, said: Owning, now_ms: int) -> None:
    """Refuse what `followed` would not take."""
    _followed(voting.counted(state, now_ms), said, now_ms)


def followed(state: LabState, said: Owning, at_ms: int) -> LabState:
    """The state after it.

    Raises:
        ValueError: it would have been refused.
    """
    try:
        return _followed(state, said, at_ms)
    except refusals.Refused as error:
        raise ValueError(str(error)) from None


def why_not_divided(run: Run, at_ms: int) -> str | None:
    """Why its shares cannot be divided yet; None: they can."""
    if not is_over(run):
        return f"run {run.name} is {run.phase.value}, or has answers in nodes' hands or under audit; its shares are divided when it is over"
    known = terms(run)
    if known is None or run.phase is Phase.STOPPED:
        return None
    open_until = [
        case.verdict.at_ms + known.window_ms
        for case in audits(run).closed
        if case.verdict is not None
        and case.verdict.outcome in (Outcome.SOFT, Outcome.HARD)
        and not case.verdict.is_final
    ]
    left_ms = max(open_until, default=at_ms - 1) - at_ms
    if left_ms < 0:
        return None
    return f"a verdict in {run.name} can be contested for {left_ms / 1000:.0f} s more; its shares are divided then"


def would_hold(state: LabState, run: Run) -> dict[str, int]:
    """Holder -> units, if the shares were divided now: the treasury among them."""
    owned: Owned = state.owned[run.name]
    return divided(charter_of(run), earned=owned.earned, funded=funded(state, run))


def funded(state: LabState, run: Run) -> dict[str, int]:
    """Account -> what the run spent of its money, rounded down: of sponsors' what they set aside and did not get back, in
    proportion; of its operator's what was paid before anybody set anything aside.

    Not what was set aside: who gives much to a run that is nearly over has it back, and would own it for nothing.
    """
    given: Counter[str] = Counter()
    owned: Owned = state.owned[run.name]
    aside = sum(run.funders.values())
    own = owned.own_micro if aside else run.paid_micro
    spent = max(run.paid_micro - own, 0)
    for did, micro in run.funders.items():
        given[account_of(state, did)] += micro * spent // aside
    given[account_of(state, run.opened.author)] += max(min(own, run.paid_micro), 0)
    return {account: micro for account, micro in given.items() if micro}


def _followed(state: LabState, said: Owning, at_ms: int) -> LabState:
    if isinstance(said, ContributionWithdrawn):
        contributions.admit(state, said, at_ms)
        return state
    return _owners_said(state, said, at_ms)


def _owners_said(state: LabState, said: Owning, at_ms: int) -> LabState:
    """1 the key may speak  2 for itself  3 of a run that has owners  4 whose shares are divided  5 what it says fits."""
    # 1
    joining.admit_author(state, said.author, at_ms)
    # 2
    operator = account_of(state, said.author)
    if operator != said.author:
        raise refusals.NotAllowed(
            f"{said.author} is a node's key; what it earns is its operator's, {operator}, who signs for it"
        )
    # 3
    run: Run | None = state.runs.get(said.run)
    if run is None:
        raise refusals.Unknown(f"no run {said.run}; this lab has {sorted(state.runs)[:8]}")
    charter = charter_of(run)
    if isinstance(said, TreasuryGiven):
        return _given(state, said)
    if isinstance(said, MeterNamed):
        return revenue.named(state, run, said)
    # 4
    state = _divided(state, run, at_ms)
    # 5
    match said:
        case ShareTransferred():
            owned = _transferred(state, said)
        case VoteDelegated():
            owned = voting.delegated(state, state.owned[run.name], said)
        case ProposalOpened():
            return voting.opened(state, charter, said, at_ms)
        case BallotCast():
            owned = voting.cast(state.owned[run.name], said)
        case RevenueEntered():
            return revenue.entered(state, said)
    return with_owned(state, run.name, owned)


def _divided(state: LabState, run: Run, at_ms: int) -> LabState:
    """The state with the run's shares divided, which happens once."""
    owned: Owned = state.owned[run.name]
    if owned.issued:
        return state
    why = why_not_divided(run, at_ms)
    if why is not None:
        raise refusals.NotDivided(why)
    units = Table(would_hold(state, run))
    owned = changed(owned, earned=Table(), issued=units, held=units, issued_entry=state.size)
    return with_owned(state, run.name, owned)


def _transferred(state: LabState, said: ShareTransferred) -> Owned:
    owned: Owned = state.owned[said.run]
    has, target = owned.held.get(said.author, 0), account_of(state, said.to)
    if target == said.author:
        raise refusals.Conflict(
            f"{said.to} is its author, or its author's node: nothing would move"
        )
    if said.units > has:
        raise refusals.TooFewShares(
            f"{said.units} units of {said.run}, and {said.author} holds {has} of {UNITS}"
        )
    if said.units < min(LEAST_GIVEN, has):
        raise refusals.TooFewShares(
            f"a transfer of {said.units} units; expected {LEAST_GIVEN} or more, a millionth of the whole, or all {has}"
        )
    delegates = owned.delegates
    if said.units == has and said.author in delegates:
        delegates = delegates.drop(said.author)
    held = with_moved(owned.held, said.author, target, said.units)
    return changed(owned, held=held, delegates=delegates)


def _given(state: LabState, said: TreasuryGiven) -> LabState:
    free = free_micro(state, said.author)
    if said.micro > free:
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits for the treasury of {said.run}, and {free} of the {balance_micro(state, said.author)} "
            f"of {said.author} are free"
        )
    gift = Posting(Move.GIVE, wallet(said.author), run_treasury(said.run), said.micro)
    return changed(state, book=post(state.book, (gift,)))
