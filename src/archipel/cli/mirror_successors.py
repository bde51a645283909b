"""Does another lab go on with a ledger that is mirrored here? Asked at the addresses that the ledger itself names.

Parts: `Successors` (whom the ledger names, and where), `continued` (what one of them shows). Law: whoever was named, by the lab or by
the charter of an open run, is believed by signatures alone, as nodes do; what it took over must be a prefix of what is here. Nobody
is led to this machine itself, or to its link, by a lab elsewhere; and whoever drips keeps the mirror from its next look for seconds.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from archipel.cli.ledger_reader import LabUnreadable, LedgerReader
from archipel.lab.entry import read_entry
from archipel.ledger.merkle import subtree_hash
from archipel.ledger.storage import LedgerError
from archipel.ledger.taken_over import BadSuccession, check_taken_over
from archipel.node.addresses import NotDialled, check_successor
from archipel.node.peers import resolved
from archipel.records.own_machine import is_own_machine
from archipel.records.statements import InvalidRecord
from archipel.records.succession import LabSucceeded, Successor, SuccessorsNamed

if TYPE_CHECKING:
    from archipel.lab.mirrors.keeping import Keeper

MAX_SUCCESSORS_ASKED = 32
ASKED_AT_ONCE = 3
"""In one look; the next look asks the next."""
LOOK_EVERY_S = 120.0
"""As nodes ask."""

AskLab = Callable[[str], LabSucceeded | None]
"""The newest `lab.succeeded` of the lab at an address, opened; None: it has none. Raises LedgerError: it does not say."""


@dataclass
class Successors:
    """Of one mirrored ledger."""

    ask: AskLab
    _looked_s: float = float("-inf")
    _found: str = ""
    _asked: int = 0

    def look(self, keeper: "Keeper", now_s: float) -> str:
        """A sentence that says who continues this ledger, and what to type; empty: nobody, as far as is known."""
        if self._found or now_s - self._looked_s < LOOK_EVERY_S:
            return self._found
        self._looked_s = now_s
        known = list(named_in(keeper))[:MAX_SUCCESSORS_ASKED]
        turned = self._asked % len(known) if known else 0
        self._asked = turned + ASKED_AT_ONCE
        for named in (known[turned:] + known[:turned])[:ASKED_AT_ONCE]:
            with contextlib.suppress(LedgerError):  # its silence says nothing of the lab
                said = self.ask(named.address or "")
                if said is not None and continues(keeper, said):
                    self._found = words(said, named.address or "")
                    break
        return self._found


class SuccessorReader(LedgerReader):
    """Of whoever may continue a lab."""

    LIMIT_S: ClassVar[float] = 10.0


def succession_at(url: str, lab_url: str) -> LabSucceeded | None:
    """See `AskLab`. lab_url: where the lab answers whose ledger leads there."""
    here = is_own_machine(urlsplit(lab_url).hostname or "")
    try:
        seen = asyncio.run(resolved(urlsplit(url).hostname or ""))
        check_successor(seen, is_lab_here=here)
    except NotDialled as error:
        raise LabUnreadable(f"{url} is not asked: {error}") from None
    with SuccessorReader(url) as lab:
        return lab.succession()


def named_in(keeper: "Keeper") -> Iterator[Successor]:
    """Whom the lab and the charters of runs name, of those whose address stands there; each address once."""
    state, seen = keeper.state, set()
    for each in _everybody(keeper):
        if each.address and each.address not in seen and each.did != state.lab:
            seen.add(each.address)
            yield each


def _everybody(keeper: "Keeper") -> Iterator[Successor]:
    yield from _named(keeper)
    yield from _chartered(keeper)


def _named(keeper: "Keeper") -> tuple[Successor, ...]:
    named = keeper.state.successors
    if named is None:
        return ()
    try:
        said = read_entry(keeper.mirror.entry(named.entry)).statement
    except (LedgerError, InvalidRecord, IndexError):
        return ()  # damaged on this disk: the next look at the mirror says so
    return said.successors if isinstance(said, SuccessorsNamed) else ()


def _chartered(keeper: "Keeper") -> Iterator[Successor]:
    for name in keeper.state.live:
        charter = keeper.state.runs[name].opened.pace.charter
        yield from (charter and charter.successors) or ()


def continues(keeper: "Keeper", said: LabSucceeded) -> bool:
    """Whether it continues this very ledger.

    1. It is of this lab. 2. The head is the lab's, and every agreement is what it says. 3. One of those agreed that the ledger
    here names. 4. What it took over is what stands here, as far as both go.
    """
    mirror, allowed = keeper.mirror, {each.did for each in _everybody(keeper)}
    if said.predecessor != keeper.did:
        return False
    try:
        agreed = check_taken_over(said)
    except BadSuccession:
        return False
    if agreed.isdisjoint(allowed):
        return False
    if said.size > mirror.size:
        return True  # it took over more than was seen here, under the lab's own head
    return said.root == f"sha256:{subtree_hash(0, said.size, mirror.nodes()).hex()}"


def words(said: LabSucceeded, url: str) -> str:
    """The sentence."""
    return (
        f"{said.author} continues this ledger from {said.size} entries on at {url}; this mirror keeps what the first lab wrote: to keep "
        f"one of the continuation too, start with --mirror {url} besides"
    )
