"""The folder that a mirror is: what of a release lies there already, and what is put there.

Laws: files lie by their paths and appear whole; what is not whole lies in `.mirroring`, named by its digest; no link
is followed out of the folder. The signature comes last, so that half a mirror does not look like a whole one.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from archipel.release import places
from archipel.release.mirroring.origins import open_plain
from archipel.release.mirroring.signed import STAGING, CannotMirror
from archipel.release.oms.folder import file_sha256
from archipel.release.oms.statement import SignedFiles

MAX_STRANGERS = 100
Tell = Callable[[str], None]


class Target(Protocol):
    """Where a mirror is kept: a folder, or a bucket (`s3`)."""

    def require_same(self, signature: bytes) -> None:
        """Raises CannotMirror: another release lies here."""

    def lacking(self, files: SignedFiles, tell: Tell) -> dict[str, list[str]]:
        """Digest -> paths that do not have these bytes yet."""

    def part(self, digest: str) -> Path:
        """Where these bytes gather."""

    def place_at(self, digest: str, paths: tuple[str, ...]) -> None:
        """The part is whole: put it where it belongs. Raises CannotMirror, OSError."""

    def sign(self, signature: bytes) -> None:
        """Everything is there: so is the signature now."""

    def read(self, path: str, most: int) -> bytes:
        """A file that was placed."""

    def strangers(self, files: SignedFiles) -> list[str]:
        """Files that are no part of the release."""


class Kept:
    """One folder, made if it is not there."""

    def __init__(self, folder: Path) -> None:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise CannotMirror(f"{folder} is no folder; name one, or a place for one")
        self.folder, self.staging = folder, folder / STAGING
        if self.staging.is_symlink():
            raise CannotMirror(f"{self.staging} is a link; remove it")
        self.staging.mkdir(parents=True, exist_ok=True)

    def require_same(self, signature: bytes) -> None:
        """Raises CannotMirror: another release lies here."""
        path = self.folder / places.SIGNATURE
        if path.is_symlink() or (path.exists() and path.read_bytes() != signature):
            raise CannotMirror(
                f"{self.folder} holds another release; name another folder, or remove that one"
            )

    def lacking(self, files: SignedFiles, tell: Tell) -> dict[str, list[str]]:
        """Digest -> paths that do not have these bytes yet."""
        found: dict[str, list[str]] = {}
        for number, (path, digest) in enumerate(files.digests.items()):
            tell(f"looking at file {number + 1} of {len(files.digests)}: {path}")
            if not self._has(path, digest):
                found.setdefault(digest, []).append(path)
        return found

    def _has(self, path: str, digest: str) -> bool:
        where = self.folder / path
        if not where.is_file() or self._is_led_out(path):
            return False
        return file_sha256(where)[0] == digest

    def _is_led_out(self, path: str) -> bool:
        """Whether a link stands on the way to it."""
        parts = path.split("/")
        return any((self.folder / "/".join(parts[: n + 1])).is_symlink() for n in range(len(parts)))

    def part(self, digest: str) -> Path:
        """Where these bytes gather."""
        return self.staging / digest

    def place_at(self, digest: str, paths: tuple[str, ...]) -> None:
        """The part is whole: put it where it belongs.

        Raises:
            CannotMirror: a link leads out of the folder there. OSError: the disk.
        """
        part = self.part(digest)
        for path in paths[1:]:
            copy = part.with_name(f"{digest}.copy")
            shutil.copyfile(part, copy)
            self._put(copy, path)
        self._put(part, paths[0])

    def _put(self, part: Path, path: str) -> None:
        if self._is_led_out(path):
            raise CannotMirror(f"{self.folder / path} is a link, or lies behind one; remove it")
        where = self.folder / path
        where.parent.mkdir(parents=True, exist_ok=True)
        part.chmod(0o644)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(where)

    def sign(self, signature: bytes) -> None:
        """Everything is there: so is the signature now."""
        part = self.staging / places.SIGNATURE
        part.write_bytes(signature)
        self._put(part, places.SIGNATURE)
        shutil.rmtree(self.staging)

    def read(self, path: str, most: int) -> bytes:
        """A file that was placed."""
        with open_plain(self.folder, path) as file:
            return file.read(most)

    def strangers(self, files: SignedFiles) -> list[str]:
        """Files that are no part of the release, at most MAX_STRANGERS."""
        found: list[str] = []
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder).as_posix()
            ours = inside in files.digests or inside.split("/")[0] in (places.SIGNATURE, STAGING)
            if not ours and (path.is_symlink() or not path.is_dir()) and len(found) < MAX_STRANGERS:
                found.append(inside)
        return found
