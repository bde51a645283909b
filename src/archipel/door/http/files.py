"""Files of checkpoints, sent to whoever has a signed address: one of them, or all as a tar made beside the folder."""

import asyncio
import tempfile
import time
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from archipel.door.checkpoint_calls import ARCHIVE
from archipel.door.door import Door
from archipel.door.http.links import Links
from archipel.door.wire.errors import Refused

MAX_AT_ONCE = 4
"""Archives that are made or sent at the same time."""


class Files:
    """Of one door."""

    def __init__(self, door: Door, links: Links) -> None:
        self._folders, self._links = door.means.folders, links
        self._num_archives = 0

    async def response(self, request: Request) -> Response:
        """Raises Refused: the address was given to nobody, or has ended."""
        parts = request.path_params
        folder, file = parts["folder"], parts["file"]
        if not self._links.holds(folder, file, parts["ends"], parts["signature"], time.time()):
            raise Refused("not_found", "this address holds no longer; ask the door for another")
        if not await asyncio.to_thread(self._folders.path(folder).is_dir):
            raise Refused("not_found", "this checkpoint was deleted")
        if file != ARCHIVE:
            return FileResponse(self._folders.path(folder) / file, filename=file)
        if self._num_archives >= MAX_AT_ONCE:
            raise Refused("crowded", f"{MAX_AT_ONCE} archives are being sent; ask again", 5)
        self._num_archives += 1
        with tempfile.NamedTemporaryFile(suffix=".tar", delete=False) as made:
            path = Path(made.name)
        try:
            with self._folders.held(folder):
                await asyncio.to_thread(self._folders.archive, folder, path)
        except BaseException:
            self._sent(path)
            raise
        return FileResponse(path, filename=ARCHIVE, background=BackgroundTask(self._sent, path))

    def _sent(self, path: Path) -> None:
        self._num_archives -= 1
        path.unlink(missing_ok=True)
