"""Votes of a run's owners: opened, cast, delegated, counted when their time is over, carried out (decision 0077). Pure.

Law: a vote is decided by whoever folds the ledger, before the first entry that stands at or after its end takes effect; no
entry says how it ended. What ballots weigh is what was held when the vote was opened, so a share votes once, whoever has it
later; whom a holder delegates to counts as it stands at the end.
"""

from collections.abc import Callable
from typing import TypeAlias

from archipel.lab import refusals
from archipel.lab.charters import charter_of, with_moved, with_owned
from archipel.lab.owners import MAX_DECIDED, MAX_VOTES, MAX_VOTES_OF_ONE, Decision, Due, Owned, Vote
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.market.journal import Move, Posting, post, run_treasury, wallet
from archipel.market.ownership import TREASURY
from archipel.market.voting import Count, line
from archipel.market.voting import counted as tally
from archipel.records.changed import changed
from archipel.records.ownership import BallotCast, ProposalOpened, Spending, VoteDelegated
from archipel.records.recipe_charter import UNITS, CharterTerms
from archipel.records.table import Table

Counting: TypeAlias = Callable[[Owned, CharterTerms, Vote], Count]
"""Gives what `count_of` gives, which needs a look at every voter; whoever only reads may remember it."""


def opened(state: LabState, charter: CharterTerms, said: ProposalOpened, at_ms: int) -> LabState:
    """The state when a holder has opened a vote. Raises TooFewShares, Conflict."""
    owned: Owned = state.owned[said.run]
    has, least = owned.held.get(said.author, 0), max(charter.least_units, 1)
    if has < least:
        raise refusals.TooFewShares(
            f"{said.author} holds {has} of {UNITS} units of {said.run}; opening a vote takes {least}"
        )
    if len(owned.votes) >= MAX_VOTES:
        raise refusals.Conflict(
            f"{MAX_VOTES} votes of {said.run} are open, and no more at a time; the first ends at "
            f"{owned.votes[0].until_ms} (Unix milliseconds)"
        )
    own = [each for each in owned.votes if each.said.author == said.author]
    if len(own) >= MAX_VOTES_OF_ONE:
        raise refusals.Conflict(
            f"{said.author} has {MAX_VOTES_OF_ONE} votes open already; the first ends at {own[0].until_ms} (Unix "
            "milliseconds)"
        )
    until_ms = at_ms + charter.voting_ms
    vote = Vote(state.size, said, at_ms, until_ms, _weights(owned, charter))
    due = (*state.deciding, Due(until_ms, said.run, state.size))
    state = with_owned(state, said.run, changed(owned, votes=(*owned.votes, vote)))
    soonest = tuple(sorted(due, key=lambda each: (each.until_ms, each.entry)))
    return changed(state, deciding=soonest)


def _weights(owned: Owned, charter: CharterTerms) -> Table[str, int]:
    """Who may vote. By operators, who earned as much as `least` and holds it still: shares that were given away make no
    voters.
    """
    held = owned.held.drop(TREASURY) if TREASURY in owned.held else owned.held
    if charter.ballots == "shares":
        return held
    least = max(charter.least_units, 1)
    earned = owned.issued
    voters = {who: units for who, units in held.items() if min(units, earned.get(who, 0)) >= least}
    return Table(voters)


def cast(owned: Owned, said: BallotCast) -> Owned:
    """With one ballot more. Raises Unknown, VoteOver, NotAHolder, VotedBefore."""
    vote = next((each for each in owned.votes if each.entry == said.proposal), None)
    if vote is None:
        if any(each.entry == said.proposal for each in owned.decided):
            raise refusals.VoteOver(f"the vote of entry {said.proposal} is over and counted")
        names = [each.entry for each in owned.votes]
        raise refusals.Unknown(
            f"no vote of {said.run} was opened by entry {said.proposal}; open are {names}"
        )
    if said.author not in vote.weights:
        raise refusals.NotAHolder(
            f"{said.author} may not vote here: it held no share of {said.run} that counts when the vote was opened"
        )
    before = vote.ballots.get(said.author)
    if before is not None:
        raise refusals.VotedBefore(
            f"{said.author} said {before} on entry {said.proposal} before; the first ballot counts"
        )
    vote = changed(vote, ballots=vote.ballots.put(said.author, said.says))
    votes = (vote if each.entry == vote.entry else each for each in owned.votes)
    return changed(owned, votes=tuple(votes))


def delegated(state: LabState, owned: Owned, said: VoteDelegated) -> Owned:
    """With a holder's votes in another's hands, or in its own again. Raises NotAHolder, Conflict, LeadsBack."""
    if said.author not in owned.held:
        raise refusals.NotAHolder(f"{said.author} holds no share of {said.run}")
    if said.to is None:
        if said.author not in owned.delegates:
            raise refusals.Conflict(f"{said.author} has delegated its votes to nobody")
        return changed(owned, delegates=owned.delegates.drop(said.author))
    to = account_of(state, said.to)
    if to not in owned.held:
        raise refusals.NotAHolder(f"{to} holds no share of {said.run} and could not vote")
    if said.author in line(to, owned.delegates):
        raise refusals.LeadsBack(
            f"{to} votes by {said.author} already, or is it: a delegation that leads back would have no ballot"
        )
    return changed(owned, delegates=owned.delegates.put(said.author, to))


def handed_over(delegates: Table[str, str], did: str, operator: str) -> Table[str, str]:
    """Whoever delegated to the key delegates to its operator; what the key had delegated ends, and so does what would lead
    back.
    """
    if did in delegates:
        delegates = delegates.drop(did)
    for holder in sorted(who for who, to in delegates.items() if to == did):
        back = holder == operator or holder in line(operator, delegates)
        delegates = delegates.drop(holder) if back else delegates.put(holder, operator)
    return delegates


def counted(state: LabState, at_ms: int, counting: Counting | None = None) -> LabState:
    """The state when every vote is decided whose time was over at `at_ms`; counting: other than by `count_of`."""
    while state.deciding and state.deciding[0].until_ms <= at_ms:
        due = state.deciding[0]
        state = _decided(changed(state, deciding=state.deciding[1:]), due, counting or count_of)
    return state


def count_of(owned: Owned, charter: CharterTerms, vote: Vote) -> Count:
    """What the ballots come to so far."""
    is_by_head = charter.ballots == "operators"
    weights = dict.fromkeys(vote.weights, 1) if is_by_head else vote.weights
    return tally(
        weights, vote.ballots, owned.delegates, quorum=charter.quorum, majority=charter.majority
    )


def _decided(state: LabState, due: Due, counting: Counting) -> LabState:
    run, owned = state.runs[due.run], state.owned[due.run]
    vote = next(each for each in owned.votes if each.entry == due.entry)
    count = counting(owned, charter_of(run), vote)
    undone, spending = "", vote.said.spending
    if count.is_adopted and spending is not None:
        undone = _why_not_spent(state, due.run, spending)
        if not undone:
            state = _spent(state, due.run, spending)
            owned = state.owned[due.run]
    decision = Decision(vote.entry, vote.said, vote.until_ms, count, undone)
    votes = tuple(each for each in owned.votes if each.entry != vote.entry)
    decided = (*owned.decided, decision)[-MAX_DECIDED:]
    return with_owned(state, due.run, changed(owned, votes=votes, decided=decided))


def _why_not_spent(state: LabState, run: str, spending: Spending) -> str:
    """Why an adopted spending moves nothing, all of it or none; empty: it does."""
    units = state.owned[run].held.get(TREASURY, 0)
    micro = int(state.book.get(run_treasury(run), 0))
    if (spending.units or 0) <= units and (spending.micro or 0) <= micro:
        return ""
    return (
        f"it takes {spending.units or 0} units and {spending.micro or 0} micro-credits, and the treasury had {units} and "
        f"{micro}"
    )


def _spent(state: LabState, run: str, spending: Spending) -> LabState:
    owned: Owned = state.owned[run]
    to = account_of(state, spending.to)
    if spending.units:
        held = with_moved(owned.held, TREASURY, to, spending.units)
        state = with_owned(state, run, changed(owned, held=held))
    gift = Posting(Move.SPEND, run_treasury(run), wallet(to), spending.micro or 0)
    return changed(state, book=post(state.book, (gift,)))
