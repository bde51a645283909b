"""Nodes that fetch versions, from outside: a process for each, and what they say."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from archipel.bench.mesh_node import NodeJob
from archipel.bench.site import Site

END_LIMIT_S = 5.0


class Crowd:
    """A process for each node."""

    def __init__(
        self, site: Site, uplinks: list[int], nodes: int, liars: int, environment: Mapping[str, str]
    ) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(nodes):
                folder = site.folder / f"node-{number}"
                folder.mkdir(mode=0o700)
                rate = uplinks[number] if number < len(uplinks) else 0
                job = NodeJob(site.url, str(folder), rate, is_liar=number < liars)
                path = folder / "job.json"
                path.write_text(json.dumps(asdict(job)))
                self._processes.append(
                    subprocess.Popen(  # noqa: S603  our own program, no shell
                        [sys.executable, "-m", "archipel.bench.mesh_node", str(path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env=dict(environment),
                    )
                )
        except BaseException:
            self.end()
            raise

    async def lines(self) -> "asyncio.Queue[dict[str, Any]]":
        """What the nodes say, as it comes; an empty word from one that ended."""
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for process in self._processes:
            if process.stdout is not None:
                os.set_blocking(process.stdout.fileno(), False)
                loop.add_reader(process.stdout.fileno(), _hear(process, said, bytearray()))
        return said

    def end(self) -> None:
        """All of them."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _hear(
    process: "subprocess.Popen[bytes]", said: "asyncio.Queue[dict[str, Any]]", kept: bytearray
) -> Callable[[], None]:
    stdout = process.stdout

    def hear() -> None:
        data = stdout.read(65_536) if stdout is not None else b""
        if not data and stdout is not None:
            asyncio.get_running_loop().remove_reader(stdout.fileno())
            said.put_nowait({})
        kept.extend(data or b"")
        while (end := kept.find(b"\n")) >= 0:
            said.put_nowait(json.loads(kept[:end]))
            del kept[: end + 1]

    return hear
