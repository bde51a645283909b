"""The files a child names as its answer: opened once, hashed and sent from the same open file.

Law: a child runs what a stranger's lab asked for, so its words are a stranger's too. A file counts
only if it lies where the child may write, is a plain file with one name, and no link led to it;
else a child could make the agent send away any file of its owner.
"""

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from archipel.records.fields import BlobRef

CHUNK_BYTES = 1024 * 1024


class BadAnswer(ValueError):
    """The child's answer names a file it may not, or lacks what its kind of work needs."""


class AnswerFile:
    """One open file."""

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        """Open `path`, which must lie below one of `roots`.

        Raises:
            BadAnswer: it is elsewhere, a link, or no plain file.
        """
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (
            OSError,
            ValueError,
        ) as error:  # ValueError: no path at all, as one with a zero byte
            raise BadAnswer(f"cannot open the answer {path.name!r}: {error}") from None
        try:
            self._check(path, roots)
            self.blob = self._describe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def data(self) -> bytes:
        """All of it, for whoever knows that it is small."""
        return os.pread(self._descriptor, self.blob.size, 0)

    async def rest(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, as far as they were hashed."""
        while offset < self.blob.size:
            chunk = os.pread(self._descriptor, CHUNK_BYTES, offset)
            if not chunk:
                raise BadAnswer("the answer shrank while it was being sent")
            offset += len(chunk)
            yield chunk

    def _check(self, path: Path, roots: Sequence[Path]) -> None:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise BadAnswer(f"the answer {path.name} is not a plain file with one name")
        place = self._place(path)
        if not any(place.is_relative_to(root.resolve()) for root in roots):
            raise BadAnswer(f"the answer {path.name} lies outside the folders of this work")

    def _place(self, path: Path) -> Path:
        """Where the open file really is: the kernel's word, which no later renaming changes."""
        link = Path(f"/proc/self/fd/{self._descriptor}")
        return link.readlink() if link.exists() else path.resolve()

    def _describe(self) -> BlobRef:
        hasher, size = hashlib.sha256(), 0
        while chunk := os.pread(self._descriptor, CHUNK_BYTES, size):
            hasher.update(chunk)
            size += len(chunk)
        return BlobRef(digest=f"sha256:{hasher.hexdigest()}", size=size)
