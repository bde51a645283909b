"""Fold first, then append in groups, then make it visible.

`ahead` is the state with every accepted statement, `state` the one with every durable statement. A
statement is folded into `ahead` before it is written, so what cannot be folded never enters the ledger;
everything that was folded meanwhile is then appended at once, in a thread, and the disk is waited for
once per group. Only then does `state` show it, and only then is it answered.
Law: when an append fails, `ahead` falls back to `state`, and everybody who waited for it is told so.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
    entries: tuple[Entry, ...]
    after: LabState
    done: "asyncio.Future[Recorded]"


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
        self._on_durable = on_durable
        self._on_fallen_back = on_fallen_back
        self._in_thread = in_thread
        self._pending: deque[_Pending] = deque()
        self._num_pending = 0
        self._flushing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        """Its own thread: behind uploads and views, every answer would wait for theirs."""

    def record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        """Fold entries into `ahead`; the future ends when they are durable.

        Raises:
            Conflict: they cannot follow; nothing changed. Busy: too many wait for the disk.
        """
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
        pending = _Pending(tuple(entries), after, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._num_pending += len(entries)
        if not self._in_thread:
            self._take_in(*self._group())
        elif self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return pending.done

    async def settled(self) -> None:
        """Wait until nothing waits for the disk any more."""
        while self._flushing is not None:
            await asyncio.shield(self._flushing)

    async def _flush(self) -> None:
        try:
            while self._pending:
                group, data = self._group()
                try:
                    append = self._writer.submit(self.log.append, data)
                    head = await asyncio.wrap_future(append)
                except Exception as error:  # noqa: BLE001  see `_fall_back`
                    self._fall_back(group, error)
                else:
                    self._make_visible(group, head)
        finally:
            self._flushing = None

    def _take_in(self, group: list[_Pending], data: list[bytes]) -> None:
        try:
            head = self.log.append(data)
        except Exception as error:  # noqa: BLE001  see `_fall_back`
            self._fall_back(group, error)
        else:
            self._make_visible(group, head)

    def _group(self) -> tuple[list[_Pending], list[bytes]]:
        group: list[_Pending] = []
        data: list[bytes] = []
        while self._pending:
            each = self._pending[0]
            if data and len(data) + len(each.entries) > MAX_BATCH_ENTRIES:
                break
            group.append(self._pending.popleft())
            data += [entry.to_bytes() for entry in each.entries]
        return group, data

    def _make_visible(self, group: list[_Pending], head: TreeHead) -> None:
        position = first = self.state.size
        self.state = group[-1].after
        entries = [entry for each in group for entry in each.entries]
        self._num_pending -= len(entries)
        self._on_durable(first, entries)
        for each in group:
            recorded = Recorded(position, position + len(each.entries) - 1, head)
            position += len(each.entries)
            if not each.done.done():
                each.done.set_result(recorded)

    def _fall_back(self, group: list[_Pending], error: Exception) -> None:
        """What was folded on top of what failed goes with it, whatever it failed of: an entry that is
        in `ahead` and not in the ledger would bend every one that follows it.
        """
        logger.error("append failed", extra={"reason": f"{type(error).__name__}: {error}"})
        failed, self._pending, self._num_pending = [*group, *self._pending], deque(), 0
        self.ahead = self.state
        self._on_fallen_back()
        for each in failed:
            if not each.done.done():
                each.done.set_exception(
                    refusals.StorageExhausted(f"the ledger cannot grow: {error}")
                )
                each.done.exception()  # who asked may be gone; then nobody else looks at it
