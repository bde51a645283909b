"""How many bytes a store holds and may still take, counted as they come and go.

Law: what is counted is what is on the disk. The folder is walked when the store is opened and when
it is swept, never for an upload; what other processes put there counts from the next sweep on.
"""

import math
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archipel.blobs.errors import StorageFull
from archipel.blobs.layout import Layout, locked

FREE_DISK_SHARE = 50
MAX_FREE_DISK_BYTES = 256 * 2**20
"""One fiftieth of the disk, up to this many bytes, is left free: ledgers, logs and temporary files
of the same machine must still be written when no blob fits any more."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a store's files."""

    whole_bytes: int
    partial_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.whole_bytes + self.partial_bytes


class Account:
    """The bytes of one store in this process. Every change of a file passes through here."""

    def __init__(
        self, layout: Layout, limit_bytes: int, reserve_bytes: int, *, is_lasting: bool = True
    ) -> None:
        if not 0 <= reserve_bytes <= limit_bytes:
            raise ValueError(
                f"a reserve of {reserve_bytes} bytes is not inside a quota of {limit_bytes}"
            )
        self.layout = layout
        self.lasting_folders: set[Path] = set()
        """Folders of blobs whose own names this process has made to survive a power cut; none goes."""
        self.hashed: set[Path] | None = None if is_lasting else set()
        """Blobs that this process has hashed, where a power cut may leave damaged ones; None: it leaves none."""
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._naming = threading.Lock()
        """Held where a file gains or loses its name: what is counted is then what is there."""
        self._counting = threading.Lock()
        self._announced = 0
        """Bytes that writers of this process will still write."""
        self._writers = 0
        self._changes = 0
        self._whole = sum(state.st_size for _, state in layout.whole_files())
        self._partial = sum(state.st_size for _, state in layout.partial_files())

    def used(self) -> Usage:
        """What is on the disk."""
        with self._counting:
            return Usage(self._whole, self._partial)

    def room(self, *, privileged: bool) -> int:
        """Bytes that may still be announced; the reserve counts for the privileged alone."""
        with self._counting:
            return max(0, self._room(privileged))

    def capacity(self, *, privileged: bool) -> int:
        """Bytes that the store would hold if it were empty: what quota and disk leave.

        A disk that others have filled up says nothing of how much it may hold: then only the quota counts.
        """
        limit = self._limit(privileged)
        total, free, kept_free = self._disk()
        if not total or free < kept_free:
            return limit
        with self._counting:
            return min(limit, self._whole + self._partial + free - kept_free)

    def announce(self, num_bytes: int, *, privileged: bool) -> None:
        """A writer begins: keep room for its bytes to come.

        Raises:
            StorageFull: they do not fit.
        """
        with self._counting:
            room = self._room(privileged)
            if num_bytes > room:
                raise StorageFull(
                    f"{num_bytes} bytes do not fit: {max(0, room)} are left of the store's quota of "
                    f"{self._limit_bytes} and of its disk; delete blobs, make room or raise the quota"
                )
            self._announced += num_bytes
            self._writers += 1

    def release(self, num_bytes: int) -> None:
        """A writer ended: these announced bytes will never come."""
        with self._counting:
            self._announced -= num_bytes
            self._writers -= 1

    def arrived(self, num_bytes: int) -> None:
        """These announced bytes are in a partial file now."""
        self._count(announced=-num_bytes, partial=num_bytes)

    def dropped(self, num_bytes: int) -> None:
        """A writer cut or removed so much of its partial file."""
        self._count(partial=-num_bytes)

    def name(self, path: Path, final: Path, num_bytes: int) -> None:
        """Give a finished file of `num_bytes` its name; one that has it already is replaced."""
        final.parent.mkdir(exist_ok=True, mode=0o700)
        with self._naming:
            replaced = 0
            with suppress(FileNotFoundError):
                replaced = final.stat().st_size
            path.replace(final)
            if self.hashed is not None:
                self.hashed.add(final)
            self._count(partial=-num_bytes, whole=num_bytes - replaced)

    def renew(self, final: Path) -> None:
        """A whole blob was offered again: it is as young as a new one."""
        with self._naming:
            os.utime(final)

    def remove_whole(self, final: Path, before_s: float = math.inf) -> int | None:
        """Bytes of a whole blob that was removed; None if it is not here or not older."""
        with self._naming:
            try:
                state = final.stat()
                if state.st_mtime >= before_s:
                    return None
                final.unlink()
            except FileNotFoundError:  # never there, or another process was faster
                return None
            if self.hashed is not None:
                self.hashed.discard(final)
            self._count(whole=-state.st_size)
            return state.st_size

    def remove_partial(self, path: Path, before_s: float = math.inf) -> int | None:
        """Bytes of a partial file that was removed; None if it is not here, not older or held."""
        try:
            file = locked(path)
        except FileNotFoundError:
            return None
        if file is None:
            return None
        with file, self._naming:
            state = os.fstat(file.fileno())
            if state.st_mtime >= before_s:
                return None
            path.unlink()
            self._count(partial=-state.st_size)
            return state.st_size

    def changes(self) -> int:
        """A number that grows with every change."""
        with self._counting:
            return self._changes

    def correct(self, found: Usage, since: int) -> None:
        """Believe what a walk found, if nothing changed in this process while it went on."""
        with self._naming, self._counting:
            if self._changes == since and not self._writers:
                self._whole, self._partial = found.whole_bytes, found.partial_bytes

    def _room(self, privileged: bool) -> int:
        total, free, kept_free = self._disk()
        of_quota = self._limit(privileged) - self._whole - self._partial
        # Some network file systems report a size of 0: then only the quota counts.
        room = min(of_quota, free - kept_free) if total else of_quota
        return room - self._announced

    def _limit(self, privileged: bool) -> int:
        return self._limit_bytes - (0 if privileged else self._reserve_bytes)

    def _disk(self) -> tuple[int, int, int]:
        """Bytes: in all, free, and to be left free."""
        disk = os.statvfs(self.layout.root)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        return total, free, min(total // FREE_DISK_SHARE, MAX_FREE_DISK_BYTES)

    def _count(self, *, announced: int = 0, partial: int = 0, whole: int = 0) -> None:
        with self._counting:
            self._announced += announced
            self._partial += partial
            self._whole += whole
            self._changes += 1
