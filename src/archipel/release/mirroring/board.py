"""Who fetches what next: files that are wanted, and origins that take them one by one, none of them believed.

Laws: a file whose bytes are not the signed ones costs the origin that sent all of them its place; if several sent
parts of it, it is fetched again whole and nobody is blamed. A file is given up when no origin is left that may have it.
"""

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

WAIT_S = 0.5


@dataclass(slots=True)
class Wanted:
    """One content that is missing."""

    digest: str
    """64 hexadecimal digits."""
    paths: tuple[str, ...]
    """Where it belongs; more than one, if files have the same bytes."""
    most: int
    """Bytes that it may have."""
    tried: set[str] = field(default_factory=set)
    """Origins that do not have it."""
    cuts: Counter[str] = field(default_factory=Counter)
    """Origin -> how often what it sent broke off."""
    senders: set[str] = field(default_factory=set)
    """Who sent parts of what lies there."""


class Board:
    """Shared between threads."""

    def __init__(self, wanted: list[Wanted], origins: list[str]) -> None:
        self._todo = deque(wanted)
        self._active = set(origins)
        self._flying = 0
        self._changed = threading.Condition()
        self.left: dict[str, str] = {}
        """Origin -> why nothing more is asked of it."""
        self.is_stopped = False

    @property
    def num_waiting(self) -> int:
        """Files that are not there yet."""
        with self._changed:
            return len(self._todo) + self._flying

    def take(self, origin: str) -> Wanted | None:
        """The next file for this origin, waiting while one may come back; None: there is nothing more for it."""
        with self._changed:
            while origin in self._active and not self.is_stopped:
                for number, wanted in enumerate(self._todo):
                    if origin not in wanted.tried:
                        del self._todo[number]
                        self._flying += 1
                        return wanted
                if not self._flying:
                    return None
                self._changed.wait(WAIT_S)
        return None

    def done(self) -> None:
        """A file that was taken is there."""
        with self._changed:
            self._flying -= 1
            self._changed.notify_all()

    def back(self, wanted: Wanted) -> None:
        """It is not; another takes it, first of all, since parts of it may lie there."""
        with self._changed:
            self._flying -= 1
            self._todo.appendleft(wanted)
            self._changed.notify_all()

    def rest(self, seconds: float) -> None:
        """Wait that long, unless all is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_stopped, seconds)

    def leave(self, origin: str, why: str) -> None:
        """Nothing more is asked of this origin."""
        with self._changed:
            if origin in self._active:
                self._active.discard(origin)
                self.left[origin] = why
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more is asked of any."""
        with self._changed:
            self.is_stopped = True
            self._changed.notify_all()

    @property
    def given_up(self) -> list[Wanted]:
        """What nobody had, once all have ended."""
        with self._changed:
            return list(self._todo)
