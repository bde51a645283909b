"""What was rendered a moment ago: a page is cut at most once per ledger size and second, however many ask.

Law: bounded in pages and in bytes; addresses where nothing lies push no page out; whoever asks while it is being made waits for it instead of making it again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MOST_KEPT = 256
MOST_BYTES = 32 << 20
LOCKS = 64
OK = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """A rendered page."""

    body: bytes
    kind: str
    status: int
    mark: str
    """What the page is cut from, in one word: its ETag."""


class Cache:
    """Of rendered pages, the longest unused go first."""

    def __init__(self, most: int = MOST_KEPT, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._making = [threading.Lock() for _ in range(LOCKS)]
        """One for each of some pages: two that fall on the same one wait for each other, and no more than that."""

    def get(self, key: Hashable, mark: str, make: Callable[[], Kept]) -> Kept:
        """The page of this mark; made, if it was not."""
        found = self._found(key, mark)
        if found is not None:
            return found
        with self._making[hash(key) % LOCKS]:
            found = self._found(key, mark)
            if found is None:
                found = make()
                if found.status == OK:
                    self._keep(key, found)
            return found

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Of all bodies that are kept."""
        return self._bytes

    def _found(self, key: Hashable, mark: str) -> Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.mark != mark:
                return None
            self._kept.move_to_end(key)
            return found

    def _keep(self, key: Hashable, page: Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._bytes += len(page.body) - (0 if old is None else len(old.body))
            self._kept[key] = page
            while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone.body)
