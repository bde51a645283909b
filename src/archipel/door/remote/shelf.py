"""Bytes between this machine's disk and the lab: payloads and packed folders, by way of files that are gone afterwards.

Parts: `Shelf`. Law: nothing stays in its folder beyond the call that needed it.
"""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from archipel.door.hands import CannotDo
from archipel.door.remote.lab import Lab
from archipel.records.fields import BlobRef
from archipel.work.packed import BadFolder, pack_folder, unpack_folder


class Shelf:
    """Of one door at one lab."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        """folder: of its own; whatever lies there is removed."""
        self._lab, self._folder = lab, folder
        self._numbers = itertools.count()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Path]:
        """A path where nothing is; what is there at the end goes."""
        path = self._folder / str(next(self._numbers))
        try:
            yield path
        finally:
            await asyncio.to_thread(_remove, path)

    async def put(self, data: bytes) -> BlobRef:
        """Have these bytes at the lab. Raises LabAway, LabRefuses."""
        async with self.place() as path:
            await asyncio.to_thread(path.write_bytes, data)
            return await self._lab.put(path)

    async def put_folder(self, folder: Path) -> BlobRef:
        """Have a folder's files at the lab, as one blob.

        Raises:
            CannotDo: it holds other things than a few files.
            LabAway, LabRefuses: from the lab.
        """
        async with self.place() as path:
            try:
                await asyncio.to_thread(pack_folder, folder, path)
            except (BadFolder, OSError) as error:
                raise CannotDo(f"a folder cannot be sent: {error}") from None
            return await self._lab.put(path)

    async def fetch(self, blob: BlobRef) -> bytes:
        """Raises LabAway, LabRefuses."""
        async with self.place() as path:
            await self._lab.fetch(blob, path)
            return await asyncio.to_thread(path.read_bytes)

    async def fetch_folder(self, blob: BlobRef, names: frozenset[str], folder: Path) -> None:
        """Make `folder` of a packed one.

        Raises:
            BadFolder: it is none of such files, or `folder` is there.
            LabAway, LabRefuses: from the lab.
        """
        async with self.place() as path:
            await self._lab.fetch(blob, path)
            await asyncio.to_thread(unpack_folder, path, names, folder)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
