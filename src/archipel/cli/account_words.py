"""Which account is meant, and its books as the ledger has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from archipel.cli.doors import Mendable, home_folder, mending
from archipel.cli.keys import name_of_key
from archipel.cli.ledger_place import checked_ledger
from archipel.market.amounts import MICRO

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.lab.bookkeeping import Movement
    from archipel.lab.entry import Entry
    from archipel.lab.state import LabState


class Books(NamedTuple):
    """What a ledger says of some accounts."""

    checked: "Checked"
    state: "LabState"
    movements: "list[Movement]"
    paid_in: frozenset[str]
    rate_micro: int | None
    """Millionths of a dollar for a credit, by the newest settlement that says both."""


def party_named() -> str:
    """The key whose account is meant where none is named: this machine's node's, else its lab operator's."""
    places = (("node", "node.key"), ("lab", "operator.key"))
    for folder, name in places:
        path = home_folder(folder, None, make=False) / name
        if path.exists():
            return name_of_key(path)
    raise Mendable("this machine has no node's and no operator's key; name an account")


def accounts_named(name: str) -> tuple[str, ...]:
    """The accounts of the book behind a name: of a key its wallet and its stake.

    Raises:
        Mendable: it names none.
    """
    from archipel.identity import BadDid, did_to_public_key
    from archipel.market.journal import OUTSIDE, POOL, TREASURY, stake, wallet

    if name in (OUTSIDE, TREASURY, POOL) or name.startswith(
        ("escrow:", "held:", "stake:", "run-treasury:", "grant:")
    ):
        return (name,)
    with mending(BadDid):
        did_to_public_key(name)
    return (wallet(name), stake(name))


def accounts_of(state: "LabState", name: str) -> tuple[str, ...]:
    """The same; of a node's key those of its operator."""
    from archipel.lab.providers import account_of

    return accounts_named(account_of(state, name))


def read_books(
    url: str | None, home: Path | None, ledger: str | None, expect: str | None, names: Sequence[str]
) -> Books:
    """The ledger there, checked, and every movement of these accounts; raises Mendable as `checked_ledger`."""
    from archipel.lab.bookkeeping import Bookkeeper, DoesNotAddUp

    keepers: list[Bookkeeper] = []

    def seen(entry: "Entry") -> None:
        if not keepers:
            keepers.append(Bookkeeper(entry.statement.lab, names))
        keepers[0].take(entry)

    with mending(DoesNotAddUp):
        checked = checked_ledger(url, home, ledger, expect, seen)
    (keeper,) = keepers
    rate = None if keeper.rate is None else keeper.rate[1] * MICRO // keeper.rate[0]
    return Books(checked, keeper.state, keeper.movements, frozenset(keeper.paid_in), rate)
