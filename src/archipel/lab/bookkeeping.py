"""Every movement of some accounts, recomputed from a ledger: what a statement of an account is made of. Pure.

Law: it folds the entries itself and believes no balance that anybody says; the balance that it runs is compared with the
book of the fold after every entry that moves one of them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from archipel.lab.entry import Entry
from archipel.lab.retelling import retold
from archipel.lab.state import LabState
from archipel.market.journal import Move, Posting
from archipel.records.money import CreditsSettled


class DoesNotAddUp(ValueError):
    """The movements of an account are not what its balance is."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Credits that came into an account or left it."""

    entry: int
    """Position in the ledger of what moved them."""
    at_ms: int
    kind: str
    """Of that statement."""
    work: str
    """The work that it is about, a run, or the reference of a settlement; empty: none of these."""
    move: Move
    account: str
    other: str
    """Where they came from or went."""
    micro: int
    """Below zero: they left."""
    balance_micro: int
    """Of the account, afterwards."""
    usd_micro: int | None = None
    """Of a settlement, where it says it."""


class Bookkeeper:
    """Of these accounts; told every entry of a ledger in order."""

    def __init__(self, lab: str, accounts: Collection[str]) -> None:
        self._accounts = frozenset(accounts)
        self._balances = dict.fromkeys(accounts, 0)
        self.state = LabState(lab=lab)
        """After the entries so far."""
        self.movements: list[Movement] = []
        """Oldest first."""
        self.rate: tuple[int, int] | None = None
        """(micro-credits, millionths of a dollar) of the newest settlement that said both."""
        self.paid_in: set[str] = set()
        """Accounts that credits came into from outside."""

    def take(self, entry: Entry) -> None:
        """One more.

        Raises:
            Contradiction: it cannot follow.
            DoesNotAddUp: an account does not hold what its movements come to.
        """
        self.state, told = retold(self.state, entry)
        said = entry.statement
        if isinstance(said, CreditsSettled):
            if said.usd_micro is not None:
                self.rate = (said.micro, said.usd_micro)
            if said.direction == "in":
                self.paid_in.add(said.account)
        for each in told.postings:
            self._move(entry, each, each.source, each.target, -each.micro)
            self._move(entry, each, each.target, each.source, each.micro)
        for account in self._accounts:
            self._compare(account)

    def _move(self, entry: Entry, posting: Posting, account: str, other: str, micro: int) -> None:
        if account not in self._accounts:
            return
        self._balances[account] += micro
        said = entry.statement
        movement = Movement(
            entry=self.state.size - 1,
            at_ms=entry.at_ms,
            kind=said.kind,
            work=_about(entry),
            move=posting.move,
            account=account,
            other=other,
            micro=micro,
            balance_micro=self._balances[account],
            usd_micro=said.usd_micro if isinstance(said, CreditsSettled) else None,
        )
        self.movements.append(movement)

    def _compare(self, account: str) -> None:
        found, ran = int(self.state.book.get(account, 0)), self._balances[account]
        if found != ran:
            raise DoesNotAddUp(
                f"entry {self.state.size - 1}: {account} holds {found} micro-credits, its movements come to {ran}"
            )


def _about(entry: Entry) -> str:
    """What a statement is about, in one word where it has one."""
    said = entry.statement
    names = (getattr(said, name, None) for name in ("work", "reference", "run"))
    return next((str(name) for name in names if name is not None), "")
