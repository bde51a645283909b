"""The journal: every movement of credits is a posting from one account to another.

Integers only (micro-credits). Which movements there are, and between which accounts, is one table; since
a posting takes from one account what it gives to another, all balances always add up to zero. An operator's
negative balance is what its runs have cost so far that nobody funded; that of `OUTSIDE` is what came in less what
went out, so all that anybody holds.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum

from archipel.records.table import Table

Book = Table[str, int]
"""Account -> micro-credits; an account that is empty is not there."""

TREASURY = "treasury"
"""What is slashed goes here."""
OUTSIDE = "outside"
"""The world outside the ledger: what comes in is taken from here."""
_WALLET, _ESCROW, _HELD, _STAKE = "wallet", "escrow", "held", "stake"
_RUN_TREASURY = "run-treasury"
POOL = "pool"
"""What sponsors, providers and the treasury gave, to be granted."""
_GRANT = "grant"


class Move(Enum):
    """Why credits move."""

    PAY_IN = "credits come in from outside, against money that was received"
    PAY_OUT = "credits go out, against money that was paid"
    ESCROW = "a sponsor sets credits aside for a run"
    HOLD = "the price of a lease is set aside until its answer"
    PAY = "an accepted answer is paid"
    REFUND = "what was set aside goes back"
    STAKE = "a provider vouches for its work, or an operator for it"
    UNSTAKE = "a provider takes its stake back"
    SLASH = "a stake is lost, or a deposit"
    UNSLASH = "a stake that was lost wrongly"
    CLAWBACK = "pay for what was found wrong goes back to the sponsor"
    RESTORE = "pay that was taken back wrongly"
    HANDOVER = "a node is an operator's from now on, and so is what it had"
    GIVE = "somebody gives to the treasury of a run"
    SPEND = "owners of a run decided to spend of its treasury"
    EARN = "what a model earned goes to who holds the run's shares"
    FUND = "somebody gives to the pool"
    PLEDGE = "a part of a provider's pay goes to the pool, as it said"
    GRANT = "the pool gives, to be spent at a door"
    CHARGE = "a door is paid out of a grant"
    RETURN = "what is left of a grant goes back to the pool"


_LAWFUL: dict[Move, tuple[tuple[str, str], ...]] = {
    Move.PAY_IN: ((OUTSIDE, _WALLET),),
    Move.PAY_OUT: ((_WALLET, OUTSIDE),),
    Move.ESCROW: ((_WALLET, _ESCROW),),
    Move.HOLD: ((_ESCROW, _HELD), (_WALLET, _HELD)),
    Move.PAY: ((_HELD, _WALLET),),
    Move.REFUND: ((_HELD, _ESCROW), (_HELD, _WALLET), (_ESCROW, _WALLET)),
    Move.STAKE: ((_WALLET, _STAKE),),
    Move.UNSTAKE: ((_STAKE, _WALLET),),
    Move.SLASH: ((_STAKE, TREASURY), (_HELD, TREASURY)),
    Move.UNSLASH: ((TREASURY, _STAKE),),
    Move.CLAWBACK: ((_WALLET, _WALLET), (_STAKE, _WALLET), (_WALLET, _ESCROW), (_STAKE, _ESCROW)),
    Move.RESTORE: ((_WALLET, _WALLET), (_ESCROW, _WALLET)),
    Move.HANDOVER: ((_WALLET, _WALLET), (_STAKE, _STAKE)),
    Move.GIVE: ((_WALLET, _RUN_TREASURY),),
    Move.SPEND: ((_RUN_TREASURY, _WALLET),),
    Move.EARN: ((OUTSIDE, _WALLET), (OUTSIDE, _RUN_TREASURY)),
    Move.FUND: ((_WALLET, POOL), (TREASURY, POOL)),
    Move.PLEDGE: ((_WALLET, POOL),),
    Move.GRANT: ((POOL, _GRANT),),
    Move.CHARGE: ((_GRANT, _WALLET),),
    Move.RETURN: ((_GRANT, POOL),),
}


def wallet(did: str) -> str:
    """A party's own account: its name is its key."""
    return did


def escrow(run: str) -> str:
    """What sponsors have set aside for a run."""
    return f"{_ESCROW}:{run}"


def held(run: str) -> str:
    """The prices of a run's open leases."""
    return f"{_HELD}:{run}"


def deposits(run: str) -> str:
    """What bidders in a run's market have set aside with their seals."""
    return f"{_HELD}:market:{run}"


def stake(did: str) -> str:
    """What a provider vouches with. Whose stake a node's is, `lab.stakes.account` says."""
    return f"{_STAKE}:{did}"


def run_treasury(run: str) -> str:
    """What the owners of a run have together, and decide on."""
    return f"{_RUN_TREASURY}:{run}"


def grant(did: str) -> str:
    """What was granted to a key, and not charged yet."""
    return f"{_GRANT}:{did}"


class BadPosting(ValueError):
    """A posting that no rule allows."""


@dataclass(frozen=True, slots=True)
class Posting:
    """`micro` micro-credits from `source` to `target`.

    Raises:
        BadPosting: a negative amount, or accounts that this move does not join.
    """

    move: Move
    source: str
    target: str
    micro: int

    def __post_init__(self) -> None:
        if self.micro < 0:
            raise BadPosting(f"{self.move.name} of {self.micro} micro-credits; expected 0 or more")
        kinds = (_kind(self.source), _kind(self.target))
        if kinds not in _LAWFUL[self.move]:
            raise BadPosting(f"{self.move.name} from {kinds[0]} to {kinds[1]} is no rule")


Listener = Callable[[Posting], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(to: Listener) -> Iterator[None]:
    """Within, `to` is told every posting that moves anything, in order: what a statement of an account is made of.
    Nothing that is computed depends on it.
    """
    token = _LISTENER.set(to)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def post(book: Book, postings: Iterable[Posting]) -> Book:
    """The book after these postings; the one given stays as it was."""
    listener = _LISTENER.get()
    for each in postings:
        if each.micro and each.source != each.target:
            if listener is not None:
                listener(each)
            book = _moved(_moved(book, each.source, -each.micro), each.target, each.micro)
    return book


def _moved(book: Book, account: str, micro: int) -> Book:
    balance = book.get(account, 0) + micro
    return book.put(account, balance) if balance else book.drop(account)


def _kind(account: str) -> str:
    if account in (TREASURY, OUTSIDE, POOL):
        return account
    kind = account.partition(":")[0]
    return _WALLET if kind == "did" else kind
