"""What providers vouch with: kept from their pay, put in from their balance, or given by an operator. Pure.

Law: a stake lies in an account of the book (`account`) and moves by postings alone. It grows by what was paid, is
lost by a hard verdict (`consequences`), and comes back only when nothing its provider did can be judged any more.
"""

from collections.abc import Collection, Iterator

from archipel.lab import refusals
from archipel.lab.audits import audits, terms
from archipel.lab.providers import account_of, is_here, keys_of, standing_of
from archipel.lab.state import LabState, Run
from archipel.market.journal import Move, Posting, post, stake, wallet
from archipel.records.changed import changed
from archipel.records.stakes import StakeGiven, StakePut, StakeReturned


def account(state: LabState, did: str) -> str:
    """The stake that vouches for what this key answers: its operator's, or its own."""
    return stake(account_of(state, did))


def _purse(state: LabState, did: str) -> str:
    return wallet(account_of(state, did))


def owned_micro(state: LabState, did: str) -> int:
    """What whoever this key belongs to was paid and did not lose: its balance and its stake."""
    return int(state.book.get(_purse(state, did), 0)) + staked_micro(state, did)


def staked_micro(state: LabState, did: str) -> int:
    """What vouches for this key's answers."""
    return int(state.book.get(account(state, did), 0))


def kept(state: LabState, run: Run, did: str, price_micro: int, earned_micro: int) -> LabState:
    """The state after a provider was paid: its pay is its stake until that is what the run asks for.

    price_micro: of the answer that was paid; as many as `AuditTerms.stake` of these are asked for.
    """
    known = terms(run)
    if known is None or known.stake is None or did in run.opened.trusted:
        return state
    missing = known.stake * price_micro - staked_micro(state, did)
    micro = min(max(missing, 0), earned_micro)
    return posted(state, Posting(Move.STAKE, _purse(state, did), account(state, did), micro))


def suffices(state: LabState, run: Run, did: str, least_micro: int = 0) -> bool:
    """Whether a provider vouches with enough to be given work of this run; `least_micro`: that its kind asks for."""
    known = terms(run)
    needed = max((known and known.deposit_micro) or 0, least_micro)
    return not needed or did in run.opened.trusted or staked_micro(state, did) >= needed


def admit(state: LabState, said: StakePut | StakeGiven | StakeReturned, now_ms: int) -> None:
    """Refuse what a key may not say of stakes, or not yet."""
    if isinstance(said, StakeGiven):
        if said.author not in state.operators:
            raise refusals.NotAllowed(f"{said.author} is no operator of this lab")
        return
    if isinstance(said, StakePut):
        why = why_not_put(state, said)
    else:
        why = why_not_returned(state, said.author, now_ms)
    if why is not None:
        raise refusals.Conflict(why)


def why_not_put(state: LabState, statement: StakePut) -> str | None:
    """Why a provider cannot vouch with so much; None if it can."""
    balance = int(state.book.get(_purse(state, statement.author), 0))
    if balance >= statement.micro:
        return None
    return (
        f"a stake of {statement.micro} micro-credits, and the balance is {balance}; put in what is there, or ask an "
        "operator to vouch (archipel lab vouch)"
    )


def moved(
    state: LabState, statement: StakePut | StakeGiven | StakeReturned, at_ms: int
) -> LabState:
    """The state after what a provider or an operator says of a stake.

    Raises:
        ValueError: more than there is, not by an operator, not yet.
    """
    match statement:
        case StakePut():
            return _put(state, statement)
        case StakeGiven():
            return _given(state, statement)
        case StakeReturned():
            return _returned(state, statement, at_ms)


def _put(state: LabState, statement: StakePut) -> LabState:
    why = why_not_put(state, statement)
    if why is not None:
        raise ValueError(why)
    did = statement.author
    return posted(
        state, Posting(Move.STAKE, _purse(state, did), account(state, did), statement.micro)
    )


def _given(state: LabState, statement: StakeGiven) -> LabState:
    if statement.author not in state.operators:
        raise ValueError(f"{statement.author} gives a stake and is no operator of this lab")
    source, target = wallet(statement.author), account(state, statement.node)
    return posted(state, Posting(Move.STAKE, source, target, statement.micro))


def why_not_returned(state: LabState, did: str, now_ms: int) -> str | None:
    """Why a stake stays where it is for now; None if it does not."""
    if not staked_micro(state, did):
        return "there is no stake to give back"
    keys = keys_of(state, did)
    if any(is_here(state, key) for key in keys):
        return "a node that is at work vouches with it; leave first (archipel node stop, or Ctrl-C)"
    open_works = sorted(work for name in state.live for work in _open(state.runs[name], keys))
    if open_works:
        return f"{len(open_works)} answers are not judged yet, {open_works[0]} among them; try again later"
    nodes = [node for key in keys if (node := state.nodes.get(key)) is not None]
    last_ms = max((node.last_seen_ms for node in nodes), default=0)
    quarantine = standing_of(state, did).quarantine
    if quarantine is not None:
        last_ms = max(last_ms, quarantine.at_ms)
    left_ms = last_ms + _window_ms(state) - now_ms
    if left_ms > 0:
        return f"what it did may be judged for another {left_ms / 1000:.0f} s; ask again then"
    return None


def _returned(state: LabState, statement: StakeReturned, at_ms: int) -> LabState:
    did = statement.author
    why = why_not_returned(state, did, at_ms)
    if why is not None:
        raise ValueError(why)
    return posted(
        state,
        Posting(Move.UNSTAKE, account(state, did), _purse(state, did), staked_micro(state, did)),
    )


def _open(run: Run, keys: Collection[str]) -> Iterator[str]:
    """Answers of a party, its audits among them, that wait for their draw or for a verdict."""
    known = audits(run)
    yield from (work for work, answer in known.waiting.items() if answer.party in keys)
    for case in known.cases.values():
        if case.answer.party in keys or any(each.auditor in keys for each in case.opinions):
            yield case.work


def _window_ms(state: LabState) -> int:
    """The longest time in which any run lets a verdict be contested."""
    found = (terms(run) for run in state.runs.values())
    return max((known.window_ms for known in found if known is not None), default=0)


def posted(state: LabState, posting: Posting) -> LabState:
    """With one movement more in the book."""
    return changed(state, book=post(state.book, (posting,)))
