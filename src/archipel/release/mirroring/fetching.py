"""One file fetched from one origin, going on where an earlier attempt ended.

Law: at most so many bytes as the file may have, at no less than a named pace; that they are the right ones is seen by
whoever hashes the whole.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from archipel.release.mirroring.origins import Origin, TooLong, Unusable

LEAST_BYTES_PER_S = 1024
"""An origin that is slower for as long as it may be silent is left: it could hold a reader for ever."""


class Stopped(Exception):
    """Nobody waits for it any more."""


@dataclass(slots=True)
class Pace:
    """Sees that bytes keep coming, that they are not too many, and that somebody still wants them."""

    stall_s: float
    may_come: Callable[[int], None]
    """Told of each piece; raises what it raises if that is too much, or nobody waits."""
    _since_s: float = field(default_factory=time.monotonic)
    _num_bytes: int = 0

    def came(self, num_bytes: int) -> None:
        """So many more.

        Raises:
            Unusable: too few in too long a time.
        """
        self.may_come(num_bytes)
        self._num_bytes += num_bytes
        passed_s = time.monotonic() - self._since_s
        if passed_s > self.stall_s:
            if self._num_bytes < LEAST_BYTES_PER_S * passed_s:
                raise Unusable(f"{self._num_bytes} bytes came in {passed_s:.0f} s; it is left")
            self._since_s, self._num_bytes = time.monotonic(), 0


def fetch(origin: Origin, path: str, part: Path, most: int, pace: Pace) -> bool:
    """Append what is missing of `path` to the file `part`; whether all of `part` is now of this very answer.

    most: bytes that the file may have.

    Raises:
        NotThere, Cut, Unusable: as the origin has it; what came stays.
    """
    there = part.stat().st_size if part.exists() else 0
    try:
        return _append(origin, path, part, (there, most), pace)
    except TooLong:
        part.unlink()
        return _append(origin, path, part, (0, most), pace)


def _append(origin: Origin, path: str, part: Path, sizes: tuple[int, int], pace: Pace) -> bool:
    there, most = sizes
    with origin.read(path, there) as answer, part.open("r+b" if there else "wb") as file:
        file.truncate(answer.start)
        file.seek(answer.start)
        size = answer.start
        for piece in answer.pieces:
            size += len(piece)
            if size > most:
                raise Unusable(f"it sent more than {most} bytes of {path:.200}")
            pace.came(len(piece))
            file.write(piece)
    return answer.start == 0
