"""A folder signed, and a folder compared with what was signed.

Laws: every regular file counts but the signature itself; no symbolic link is followed, neither to a file nor to a
folder; files are read in pieces, so that no file needs to fit in memory.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from archipel.release.oms.bundle import Bundle, signed_bytes
from archipel.release.oms.key import SigningKey
from archipel.release.oms.statement import (
    MAX_RESOURCES,
    BadOms,
    SignedFiles,
    inner_path,
    signed_files,
)

MAX_DEPTH = 64
PIECE_BYTES = 1024 * 1024
Seen = Callable[[str, int], None]
"""(path, bytes) of each file when its digest is known."""


def _nobody(path: str, size_bytes: int) -> None:
    """Nobody looks on."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How a folder differs from what was signed; paths in order."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    """There, and signed by nobody."""
    ignored: tuple[str, ...]
    """There, and left out by the signer's own word."""

    @property
    def is_same(self) -> bool:
        """Whether every file is as signed and nothing else lies there, but for the signature and what it ignores."""
        return not (self.changed or self.missing or self.added)


def files_in(folder: Path) -> Iterator[str]:
    """Every regular file below `folder`, relative to it, in no order.

    Raises:
        BadOms: a symbolic link, a pipe or a device lies there, a name that cannot be signed, or too much.
        OSError: it cannot be read.
    """
    waiting = [("", 0)]
    found = 0
    while waiting:
        inside, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadOms(f"{inside:.200} lies deeper than {MAX_DEPTH} folders")
        with os.scandir(folder / inside) as entries:
            for each in entries:
                path = inner_path(f"{inside}/{each.name}" if inside else each.name)
                mode = each.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    waiting.append((path, depth + 1))
                elif stat.S_ISREG(mode):
                    yield path
                else:
                    raise BadOms(
                        f"{path:.200} is no regular file; links and devices are not signed"
                    )
                found += 1
                if found > MAX_RESOURCES:
                    raise BadOms(f"more than {MAX_RESOURCES} files and folders")


def file_sha256(path: Path) -> tuple[str, int]:
    """(64 hexadecimal digits, bytes) of a regular file.

    Raises:
        OSError: it is a link, or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def sign_folder(
    folder: Path, name: str, key: SigningKey, place: str, seen: Seen = _nobody
) -> bytes:
    """A bundle over every file of `folder`, to be written to `place` in it.

    name: of the model, for people. The same folder, name and key give the same bytes.

    Raises:
        BadOms: something there cannot be signed. OSError: it cannot be read.
    """
    digests: dict[str, str] = {}
    for path in sorted(files_in(folder)):
        if path != place:
            digests[path], size_bytes = file_sha256(folder / path)
            seen(path, size_bytes)
    return bundle_over(signed_files(name, digests, (place,)), key)


def bundle_over(files: SignedFiles, key: SigningKey) -> bytes:
    """The bundle of a statement that is there already."""
    payload = files.to_bytes()
    return Bundle(payload, key.sign(signed_bytes(payload)), "key", key.public.hint, None).to_bytes()


def compare_folder(folder: Path, signed: SignedFiles, place: str, seen: Seen = _nobody) -> Compared:
    """Every file of `folder` beside what was signed; `place`: where the signature lies in it.

    Raises:
        BadOms: a link or a device lies there. OSError: it cannot be read.
    """
    there = sorted(each for each in files_in(folder) if each != place)
    changed, added, ignored = [], [], []
    for path in there:
        if path in signed.digests:
            digest, size_bytes = file_sha256(folder / path)
            seen(path, size_bytes)
            if digest != signed.digests[path]:
                changed.append(path)
        elif _is_below(path, signed.ignored):
            ignored.append(path)
        else:
            added.append(path)
    missing = sorted(signed.digests.keys() - set(there))
    return Compared(tuple(changed), tuple(missing), tuple(added), tuple(ignored))


def _is_below(path: str, ignored: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in ignored)
