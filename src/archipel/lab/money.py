"""Credits that come from the world outside, go there, and are set aside for runs. Pure.

Law: one check for the door and for the fold, so a ledger that took more out of a wallet than it held, or one reference
twice, follows from nothing.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from archipel.lab import escrow, granting, joining, refusals
from archipel.lab.audits import audits
from archipel.lab.providers import account_of, keys_of
from archipel.lab.stakes import staked_micro
from archipel.lab.state import LabState, Run
from archipel.market.journal import OUTSIDE, Move, Posting, post, stake, wallet
from archipel.records.changed import changed
from archipel.records.fields import MAX_SEQ
from archipel.records.grants import Granting
from archipel.records.money import CreditsSettled, Paying, RunFunded

MAX_SETTLED = 1_000_000
"""References that a lab remembers: a settlement a minute for two years."""
MAX_FUNDERS = 1000
"""Of one run, besides operators: the rest of an escrow is divided among all of them in one step."""
MAX_SMALL_FUNDERS = 100
"""So many of them may give as little as they like; who comes later gives the price of a lease at least, so that filling
the other places pays for the run instead of locking its sponsors out.
"""


def admit(state: LabState, statement: Paying, now_ms: int) -> None:
    """Refuse, or return: 1 the key may speak  2 it has a say, or the credits  3 it fits what is known  4 it is enough."""
    if isinstance(statement, Granting):
        granting.followed(state, statement, now_ms, free_micro)
        return
    _admit(state, statement, now_ms)
    if isinstance(statement, RunFunded):
        _admit_as_enough(state, statement)


def _admit(state: LabState, statement: CreditsSettled | RunFunded, now_ms: int) -> None:
    """All that a ledger is held to."""
    joining.admit_author(state, statement.author, now_ms)
    match statement:
        case CreditsSettled():
            _admit_settlement(state, statement)
        case RunFunded():
            _admit_funding(state, statement)


def followed(state: LabState, statement: Paying, at_ms: int) -> LabState:
    """The state after it.

    Raises:
        ValueError: it would have been refused.
    """
    try:
        if isinstance(statement, Granting):
            return granting.followed(state, statement, at_ms, free_micro)
        _admit(state, statement, at_ms)
    except refusals.Refused as error:
        raise ValueError(str(error)) from None
    match statement:
        case CreditsSettled():
            return _settled(state, statement)
        case RunFunded(author=did, micro=micro):
            return escrow.funded(state, state.runs[statement.run], did, micro)


def balance_micro(state: LabState, did: str) -> int:
    """What the wallet holds of whoever this key belongs to; below zero: what it owes."""
    return int(state.book.get(wallet(account_of(state, did)), 0))


def unjudged_micro(state: LabState, did: str) -> int:
    """Pay for answers of this party that wait for their draw or a verdict: it may have to go back."""
    keys = keys_of(state, did)
    known = [audits(state.runs[name]) for name in state.live]
    waiting = (answer for each in known for answer in each.waiting.values())
    judged = (case.answer for each in known for case in each.cases.values())
    return sum(
        answer.price_micro
        for answers in (waiting, judged)
        for answer in answers
        if answer.party in keys
    )


def free_micro(state: LabState, did: str) -> int:
    """What may be paid out of its wallet: without pay that may have to go back, as far as no stake vouches for that."""
    at_risk = max(unjudged_micro(state, did) - staked_micro(state, did), 0)
    return max(balance_micro(state, did) - at_risk, 0)


def owed(state: LabState, wallets: Iterable[str]) -> dict[str, int]:
    """Account -> what may be paid out of its wallet, for those of `wallets` that hold anything free; one look at all
    answers that wait, whatever number of wallets there are.
    """
    at_risk: Counter[str] = Counter()
    for name in state.live:
        known = audits(state.runs[name])
        cases = (case.answer for case in known.cases.values())
        for answer in chain(known.waiting.values(), cases):
            at_risk[account_of(state, answer.party)] += answer.price_micro
    free = {
        did: int(state.book.get(wallet(did), 0))
        - max(at_risk[did] - int(state.book.get(stake(did), 0)), 0)
        for did in wallets
    }
    return {did: micro for did, micro in sorted(free.items()) if micro > 0}


def _admit_settlement(state: LabState, said: CreditsSettled) -> None:
    if said.author not in state.operators:
        raise refusals.NotAllowed(f"{said.author} is no operator of this lab")
    before = state.settled.get(said.reference)
    if before is not None:
        raise refusals.SettledBefore(
            f"reference {said.reference!r} was settled in entry {before}; nothing was done, and another settlement "
            "needs another reference"
        )
    if len(state.settled) >= MAX_SETTLED:
        raise refusals.TooMuch(f"this lab remembers {MAX_SETTLED} references already, and no more")
    if said.direction == "in":
        check_issue(state, said.micro)
        return
    free, balance = free_micro(state, said.account), balance_micro(state, said.account)
    if said.micro > free:
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits out of {said.account}, and {free} of its {balance} are free: the rest is pay "
            "for answers that are not judged yet; settle what is free"
        )


def check_issue(state: LabState, micro: int) -> None:
    """Raises TooMuch: all accounts together would not stay what a record may hold."""
    issued = -int(state.book.get(OUTSIDE, 0))
    if issued + micro > MAX_SEQ:
        raise refusals.TooMuch(
            f"{micro} micro-credits more beside the {issued} that came in are beyond {MAX_SEQ}"
        )


def _admit_funding(state: LabState, said: RunFunded) -> None:
    run: Run | None = state.runs.get(said.run)
    if run is None:
        raise refusals.Unknown(f"no run {said.run}; this lab has {sorted(state.runs)[:8]}")
    if escrow.is_over(run):
        raise refusals.RunOver(f"run {run.name} is {run.phase.value}: there is nothing to pay for")
    balance = int(state.book.get(wallet(said.author), 0))
    if said.micro > balance:
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits for {run.name}, and the wallet of {said.author} holds {balance}; an operator "
            "of the lab enters what you pay in (archipel account settle in)"
        )
    if said.micro > free_micro(state, said.author):
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits for {run.name}, and not so many of the {balance} of {said.author} are free: the "
            "rest is pay for answers that are not judged yet"
        )
    given = run.funders.get(said.author, 0)
    is_new = not given and said.author not in state.operators
    if is_new and len(run.funders) >= MAX_FUNDERS:
        raise refusals.TooMuch(f"run {run.name} has {MAX_FUNDERS} funders already, and no more")
    if given + said.micro > MAX_SEQ:
        raise refusals.TooMuch(f"{said.micro} micro-credits more are beyond {MAX_SEQ} in all")


def _admit_as_enough(state: LabState, said: RunFunded) -> None:
    run = state.runs[said.run]
    if not escrow.is_escrowed(run) and said.author not in state.operators:
        _admit_as_first(state, run, said.micro)
    least = escrow.least_micro(state, run)
    is_known = said.author in run.funders or said.author in state.operators
    if not is_known and len(run.funders) >= MAX_SMALL_FUNDERS and said.micro < least:
        raise refusals.TooMuch(
            f"{said.micro} micro-credits for {run.name}, which {MAX_SMALL_FUNDERS} fund already; expected {least} of "
            "whoever is new, the price of its smallest lease"
        )


def _admit_as_first(state: LabState, run: Run, micro: int) -> None:
    """From then on the run pays from its escrow alone, so with less a stranger would end what its operator pays."""
    rest = escrow.rest_micro(state, run)
    if micro < rest:
        raise refusals.InsufficientCredits(
            f"{micro} micro-credits for {run.name}, which is on its operator's account and would pay from what is set aside "
            f"alone; expected {rest} of whoever is first, for all of its work that is left, or any sum after an operator of "
            f"the lab has set something aside (archipel run fund {run.name} CREDITS)"
        )


def _settled(state: LabState, said: CreditsSettled) -> LabState:
    own = wallet(account_of(state, said.account))
    posting = (
        Posting(Move.PAY_IN, OUTSIDE, own, said.micro)
        if said.direction == "in"
        else Posting(Move.PAY_OUT, own, OUTSIDE, said.micro)
    )
    return changed(
        state,
        settled=state.settled.put(said.reference, state.size),
        book=post(state.book, (posting,)),
    )
