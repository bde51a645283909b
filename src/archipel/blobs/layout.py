"""Which file of a store is which blob.

`ab/cdef...` is the blob sha256:abcdef..., mode 0444; `partial/<hex>` is one still arriving, and
`partial/<hex>.<random>` one that cannot be resumed. A blob's modification time says when it was last
put or offered, a partial one's when its last bytes came.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from archipel.blobs.errors import BadDigest, BlobMissing, named_errors

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{62}")


def hexadecimal(digest: str) -> str:
    """The 64 digits of `sha256:<digits>`.

    Raises:
        BadDigest: any other text, so that no name ever leads out of the store.
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BadDigest(f"got {digest!r:.90}; expected sha256: and 64 lower-case hex digits")
    return match[1]


class Layout:
    """The files of one store below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.partials = root / "partial"
        self.partials.mkdir(parents=True, exist_ok=True, mode=0o700)

    def final(self, digest: str) -> Path:
        """Where the whole blob lies."""
        name = hexadecimal(digest)
        return self.root / name[:2] / name[2:]

    def partial(self, digest: str) -> Path:
        """Where an interrupted blob waits to be resumed."""
        return self.partials / hexadecimal(digest)

    def whole_files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Digest and state of every whole blob; one that goes meanwhile is left out."""
        with os.scandir(self.root) as folders:
            names = [folder.path for folder in folders if _FOLDER.fullmatch(folder.name)]
        for name in sorted(names):
            for entry, state in _listed(name):
                if _FILE.fullmatch(entry.name):
                    yield f"sha256:{name[-2:]}{entry.name}", state

    def partial_files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Path and state of every partial blob."""
        for entry, state in _listed(self.partials):
            yield Path(entry.path), state

    @contextmanager
    def expecting(self, digest: str) -> Iterator[None]:
        """No file means no blob, as long as the store itself is there.

        Raises:
            BlobMissing: accordingly. StorageFailed, TooManyOpenFiles: from the disk.
        """
        with named_errors(f"cannot read {digest}"):
            try:
                yield
            except FileNotFoundError:
                self.require()
                raise BlobMissing(f"there is no blob {digest} here") from None

    def require(self) -> None:
        """Raise FileNotFoundError when the folder is gone: an absent blob is another thing."""
        self.partials.stat()


def locked(path: Path, flags: int = 0) -> FileIO | None:
    """The partial file at `path`, opened with `flags` and locked for us; None if another has it.

    Raises:
        FileNotFoundError: there is none, and `flags` do not say to create it.
    """
    while True:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Between open and lock its last owner may have committed or dropped it: ours may then be
        # a finished blob under another name. Only the file that still has this name will do.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _listed(folder: Path | str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # moved or removed by another writer
                yield entry, entry.stat(follow_symlinks=False)
