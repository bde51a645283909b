"""A lab without keys, bytes and disk: what it judges, folds, decides and hands out is `archipel.lab`'s own.

Parts: `SimulatedLab`. It stands in for `lab.lab.Lab`, whose order of calls it keeps: admit, fold, make room, offer.
Law: no rule of the lab is written here a second time; statements are whole records, and only nobody signs them.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from archipel.identity import Envelope
from archipel.lab import rounds
from archipel.lab.admission import admit
from archipel.lab.apply import apply
from archipel.lab.commit import Recorded
from archipel.lab.decide import lost_leases, quarantined_leases
from archipel.lab.drawing import any_due
from archipel.lab.endings import ended_leases
from archipel.lab.entry import Entry
from archipel.lab.leasing import Leasing
from archipel.lab.state import LabState
from archipel.lab.waiting import Waiter
from archipel.ledger.tree_head import TreeHead
from archipel.records.statements import RECORD_TYPE, LabOpened, LeaseGranted, LeaseRequested
from archipel.records.statements import Recorded as RecordedStatement

UNSIGNED = Envelope(payload_type=RECORD_TYPE, payload=b"", keyid="", signature=b"")


class Promise:
    """What a future is to `Leasing`, without an event loop: nobody here waits for anything."""

    def __init__(self) -> None:
        self._is_done = False

    def done(self) -> bool:
        """Whether it has ended."""
        return self._is_done

    def set_result(self, result: object) -> None:
        """It ends."""
        self._is_done = True

    def set_exception(self, error: BaseException) -> None:
        """A lab in memory has room for every record, so this is a defect."""
        raise error

    def exception(self) -> BaseException | None:
        """None: it never fails."""
        return None


def _promise() -> "asyncio.Future[Any]":
    return cast("asyncio.Future[Any]", Promise())


class SimulatedLab:
    """The state, and who waits for work."""

    def __init__(
        self,
        did: str,
        operator: str,
        clock_ms: Callable[[], int],
        seed: int,
        on_recorded: Callable[[RecordedStatement], None],
        company_ms: int = 0,
    ) -> None:
        """`on_recorded` hears of each statement when it is in the state; how the nodes are together is computed again
        after `company_ms` at the earliest.
        """
        self.did = did
        self._clock_ms = clock_ms
        self._seed = seed
        self._on_recorded = on_recorded
        self._durable = _promise()
        self._durable.set_result(Recorded(0, 0, TreeHead(did, 0, b"", b"")))
        self.ahead = LabState(lab=did)
        self._waiters: dict[str, Waiter] = {}
        self.leasing = Leasing(self, self._entry, clock_ms, company_ms)
        self._seq = 0
        self.say(LabOpened(lab=did, author=did, seq=1, operators=(operator,)))

    def next_seq(self) -> int:
        """A number that no author here has used."""
        self._seq += 1
        return self._seq

    def record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        """Fold entries; in a simulation everything is durable at once."""
        for entry in entries:
            self.ahead = apply(self.ahead, entry.statement, entry.at_ms)
            if isinstance(entry.statement, LeaseGranted):
                self._waiters.pop(entry.statement.node, None)
            self._on_recorded(entry.statement)
        return self._durable

    def submit(self, statement: RecordedStatement) -> None:
        """A statement of a node, an operator or a trusted role.

        Raises:
            Refused: nothing was recorded.
        """
        admit(self.ahead, statement, self._clock_ms(), _here)
        self.say(statement)

    def say(self, *statements: RecordedStatement) -> None:
        """Record what was judged already; whoever may take more work now is offered some."""
        for statement in statements:
            ended = ended_leases(self.ahead, statement)
            self.record([self._entry(statement)])
            self.leasing.follow(statement, ended)
        self.leasing.offer()

    def ask(self, did: str, kinds: tuple[str, ...], holding: tuple[str, ...]) -> None:
        """A node asks for work and waits; a lease comes by `on_recorded`.

        Raises:
            Refused: it may not ask.
        """
        request = LeaseRequested(
            lab=self.did, author=did, seq=self.next_seq(), kinds=kinds, holding=holding
        )
        admit(self.ahead, request, self._clock_ms(), _here)
        waiter = self.leasing.asks(request, _promise())
        lost = lost_leases(self.ahead, request)
        if lost:
            self.say(*lost)
        self._waiters[did] = waiter
        self.leasing.line.join(waiter)
        self.leasing.offer()

    def gone(self, did: str) -> None:
        """A node does not wait any more."""
        waiter = self._waiters.pop(did, None)
        if waiter is not None:
            self.leasing.line.leave(waiter)

    def waiting(self) -> list[str]:
        """Who waits for work."""
        return list(self._waiters)

    def look(self) -> None:
        """What a lab does by the clock: leases that ran out, late work a second time, draws, quarantine, rounds."""
        expired = self.leasing.overdue()
        if expired:
            self.say(*expired)
        self.leasing.offer_again()
        size = self.ahead.size
        drawn = any_due(self.ahead, size, self._root(size), self._clock_ms())
        said = quarantined_leases(self.ahead) if drawn is None else [drawn]
        if said:
            self.say(*said)
        self._trade()

    def _trade(self) -> None:
        """Clear the round that has taken its reveals, or open the one that is due."""
        for name in rounds.clearable(self.ahead, self._clock_ms()):
            opening = self.ahead.markets[name].open
            size = None if opening is None else opening.last_reveal
            root = None if size is None else f"sha256:{self._root(size).hex()}"
            self.say(rounds.cleared_by(self.ahead, name, root))
        opened = rounds.opening_due(self.ahead, self._clock_ms())
        if opened is not None:
            self.say(opened)

    def _root(self, size: int) -> bytes:
        """In place of a tree's root: nobody can foresee either."""
        return hashlib.sha256(f"root {self._seed} {size}".encode()).digest()

    def _entry(self, statement: RecordedStatement) -> Entry:
        return Entry(self._clock_ms(), UNSIGNED, statement)


def _here(blob: object) -> bool:
    """Blobs are not made, so none is missing."""
    return True
