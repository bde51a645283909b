"""What only a running lab looks at when a node comes that is new: how recent its effort's head is, how often its operator came.

No replay depends on it: an effort protects the lab alone, and the rule itself is looked at by `joining`.
"""

import asyncio
from collections.abc import Callable

from archipel.lab import refusals
from archipel.lab.doorman import Buckets, Rate
from archipel.lab.entry import read_entry
from archipel.lab.joining import is_known, party_of
from archipel.lab.state import LabState
from archipel.ledger.log import Log
from archipel.records.statements import NodeJoined

RECENT_MS = 3_600_000
"""An effort's head is no older, unless it is the newest: in a lab where nothing is said it stays that."""
KEYS_PER_OPERATOR = Rate(burst=64, per_s=0.1)
"""New keys of one operator."""


class Newcomers:
    """Of one lab."""

    def __init__(self, log: Log, clock_ms: Callable[[], int], *, in_thread: bool) -> None:
        self._log = log
        self._clock_ms = clock_ms
        self._in_thread = in_thread
        self._operators = Buckets(KEYS_PER_OPERATOR, lambda: clock_ms() / 1000)

    async def look_at(self, state: LabState, joined: NodeJoined) -> None:
        """Raises NotAllowed: its effort is over no recent head of this lab's."""
        if joined.effort is None or not state.joining.effort_bits or is_known(state, joined):
            return
        size, root = joined.effort.size, joined.effort.root
        asked = asyncio.to_thread(self._is_recent, size, root) if self._in_thread else None
        is_recent = self._is_recent(size, root) if asked is None else await asked
        if not is_recent:
            raise refusals.NotAllowed(
                f"the effort is over {root} as the root of {size} entries, expected a recent signed head of this "
                "lab; do it again over the newest one"
            )

    def count(self, state: LabState, joined: NodeJoined) -> None:
        """Raises Busy: too many new keys of one operator at once."""
        operator = party_of(state, joined)
        is_new = operator != joined.author and joined.author not in state.nodes
        if is_new and not self._operators.take(operator):
            raise refusals.Busy(f"too many new keys of {operator}; try again in a minute")

    def _is_recent(self, size: int, root: str) -> bool:
        newest = self._log.head
        if not 0 < size <= newest.size:
            return False
        head = next(iter(self._log.heads(size - 1, 1)), newest)
        if head.size != size or f"sha256:{head.root.hex()}" != root:
            return False
        if size == newest.size:
            return True
        last = read_entry(self._log.read(size - 1, 1)[0])
        return self._clock_ms() - last.at_ms <= RECENT_MS
