"""Fold first, then append in groups, then make it visible.

`ahead` is the state with every accepted statement, `state` the one with every durable statement. A
statement is folded into `ahead` before it is written, so what cannot be folded never enters the ledger;
everything that was folded meanwhile is then appended at once, in a thread, and the disk is waited for
once per group. Only then does `state` show it, and only then is it answered.
Law: when an append fails, `ahead` falls back to `state`, and everybody who waited for it is told so. What is
durable is answered, whatever they lack who show it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.entry import Entry
from archipel.lab.state import LabState
from archipel.ledger.log import MAX_BATCH_ENTRIES, Log
from archipel.ledger.tree_head import TreeHead

logger = logging.getLogger("archipel.lab")

MAX_PENDING = 16_384
"""Entries that wait for the disk; more are refused for now."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where entries stand in the ledger, and the head that covers them."""

    first: int
    last: int
    head: TreeHead


@dataclass(frozen=True, slots=True)
class _Pending:
    entries: Sequence[Entry]
    done: "asyncio.Future[Recorded]"


@dataclass(slots=True)
class _Group:
    """What is appended together. Only the state after all of it is kept: one between would hold on to
    some ten kilobytes that no other state shares.
    """

    after: LabState
    pending: list[_Pending] = field(default_factory=list)
    num_entries: int = 0


class Writer(Protocol):
    """Who takes entries in: a lab's committer, or whoever folds them without a ledger."""

    @property
    def ahead(self) -> LabState:
        """The state with every entry that was accepted."""

    def record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        """Fold them; the future ends when they are durable."""


class Committer:
    """The one writer of a ledger; see the module's text."""

    def __init__(
        self,
        log: Log,
        state: LabState,
        on_durable: Callable[[int, Sequence[Entry]], None],
        on_fallen_back: Callable[[], None],
        *,
        in_thread: bool,
    ) -> None:
        """`on_durable` is told (position of the first, entries) of each group, `on_fallen_back` that
        `ahead` is `state` again; `in_thread` False is for ledgers in memory: nothing is waited for.
        """
        self.log = log
        self.state = state
        self.ahead = state
        self.head = log.head
        """Covers `state`."""
        self._on_durable = on_durable
        self._on_fallen_back = on_fallen_back
        self._in_thread = in_thread
        self._groups: deque[_Group] = deque()
        self._num_pending = 0
        self._flushing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        """Its own thread: behind uploads and views, every answer would wait for theirs."""

    def record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        """Fold entries into `ahead`; the future ends when they are durable.

        Raises:
            Conflict: they cannot follow; nothing changed. Busy: too many wait for the disk.
            TooLarge: more than the ledger takes in at once; they would be appended together or not.
        """
        if len(entries) > MAX_BATCH_ENTRIES:
            raise refusals.TooLarge(
                f"{len(entries)} entries in one record; at most {MAX_BATCH_ENTRIES} enter together"
            )
        if self._num_pending + len(entries) > MAX_PENDING:
            raise refusals.Busy("the ledger's disk is behind; try again in a second")
        after = self.ahead
        try:
            for entry in entries:
                after = apply(after, entry.statement, entry.at_ms)
        except Contradiction as error:
            logger.exception("contradiction")
            raise refusals.Conflict(f"it cannot follow what the ledger holds: {error}") from None
        self.ahead = after
        done = asyncio.get_running_loop().create_future()
        self._join(_Pending(entries, done), after)
        if not self._in_thread:
            self._take_in(self._groups.popleft())
        elif self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return done

    async def settled(self) -> None:
        """Wait until nothing waits for the disk any more."""
        while self._flushing is not None:
            await asyncio.shield(self._flushing)

    def _join(self, pending: _Pending, after: LabState) -> None:
        """Into the newest group, if there is room."""
        num = len(pending.entries)
        if not self._groups or self._groups[-1].num_entries + num > MAX_BATCH_ENTRIES:
            self._groups.append(_Group(after))
        group = self._groups[-1]
        group.pending.append(pending)
        group.num_entries += num
        group.after = after
        self._num_pending += num

    async def _flush(self) -> None:
        try:
            while self._groups:
                group = self._groups.popleft()
                try:
                    append = self._writer.submit(self.log.append, _data(group))
                    head = await asyncio.wrap_future(append)
                except Exception as error:  # noqa: BLE001  see `_fall_back`
                    self._fall_back(group, error)
                else:
                    self._make_visible(group, head)
        finally:
            self._flushing = None

    def _take_in(self, group: _Group) -> None:
        try:
            head = self.log.append(_data(group))
        except Exception as error:  # noqa: BLE001  see `_fall_back`
            self._fall_back(group, error)
        else:
            self._make_visible(group, head)

    def _make_visible(self, group: _Group, head: TreeHead) -> None:
        position = first = self.state.size
        self.state, self.head = group.after, head
        entries = [entry for each in group.pending for entry in each.entries]
        self._num_pending -= len(entries)
        try:
            self._on_durable(first, entries)
        except Exception:
            logger.exception("not shown yet")
        for each in group.pending:
            recorded = Recorded(position, position + len(each.entries) - 1, head)
            position += len(each.entries)
            if not each.done.done():
                each.done.set_result(recorded)

    def _fall_back(self, group: _Group, error: Exception) -> None:
        """What was folded on top of what failed goes with it, whatever it failed of: an entry that is
        in `ahead` and not in the ledger would bend every one that follows it.
        """
        logger.error("append failed", extra={"reason": f"{type(error).__name__}: {error}"})
        failed = [each for lost in (group, *self._groups) for each in lost.pending]
        self._groups.clear()
        self._num_pending = 0
        self.ahead = self.state
        self._on_fallen_back()
        for each in failed:
            if not each.done.done():
                each.done.set_exception(self._refusal(error))
                each.done.exception()  # who asked may be gone; then nobody else looks at it

    def _refusal(self, error: Exception) -> refusals.Refused:
        stopped = self.log.failure
        if stopped is None:
            return refusals.StorageExhausted(f"the ledger cannot grow: {error}")
        return refusals.LedgerStopped(
            f"it is not known whether this was recorded: {stopped}; ask again after the lab's next start"
        )


def _data(group: _Group) -> list[bytes]:
    return [entry.to_bytes() for each in group.pending for entry in each.entries]
