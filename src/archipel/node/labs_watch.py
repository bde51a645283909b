"""Whether `labs.toml` says something else by now than when it was read.

Law: a file is read when it has stood still between two looks, so that nobody acts on half of what an editor writes; one that
is no such file is refused once, in one sentence, and what was read before stays in force. One that the system does not let us read
now is tried again at each look.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from archipel.node.labs_file import FILE, Labs, read_labs

Stamp = tuple[int, int, int] | None
"""What tells two states of a file apart; None: there is none."""


class LabsWatch:
    """Of one node's home."""

    def __init__(
        self, home: Path, given: Sequence[str] = (), keys: Mapping[str, str] | None = None
    ) -> None:
        """given: labs of the command line, which stay, and keys of some. Raises BadLabs, OSError: as `read_labs`."""
        self._home, self._given, self._keys = home, tuple(given), keys
        self._read = self._seen = self._stamp()
        self._unread = ""
        """Why it could not be read, as was said last."""
        self.labs = read_labs(home, given, keys)
        """As read last."""

    def look(self) -> Labs | None:
        """The labs, if they are others than before; to be asked again and again.

        Raises:
            BadLabs: the file changed and is no such file any more; said once. OSError, MemoryError: it cannot be read now; said
            once for each reason.
        """
        stamp = self._stamp()
        stands_still, self._seen = stamp == self._seen, stamp
        if stamp == self._read or not stands_still:
            return None
        before, self._read = self._read, stamp
        try:
            found = read_labs(self._home, self._given, self._keys)
        except (OSError, MemoryError) as error:
            self._read, said = before, self._unread
            self._unread = repr(error)
            if said == self._unread:
                return None
            raise
        self._unread = ""
        if found == self.labs:
            return None
        self.labs = found
        return found

    def _stamp(self) -> Stamp:
        try:
            known = (self._home / FILE).stat()
        except OSError:
            return None
        return known.st_mtime_ns, known.st_size, known.st_ino
