"""One node of real processes at three labs at once: one is killed, one answers with what it said before, and the third's run
ends as if they were not there.
"""

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stage import EVERY_PROCESS, Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
VERSIONS = 2
LIMIT_S = 300.0
"""Three labs, three learners and three work processes take turns at two cores."""
LEAVES_S = 90.0
"""It says goodbye to a lab that replays, too."""
HONEST_BYTES = 24_000
"""So much passes as it is, until the replaying begins."""
RELAY_BYTES = 16_384


class Replaying:
    """A lab's address at which, after a while, every question is answered with an answer to another one."""

    def __init__(self, target: str) -> None:
        self._target = int(target.rsplit(":", 1)[1])
        self._said: list[bytes] = []
        self._open: list[asyncio.StreamWriter] = []
        """Every connection, so that none ends by being forgotten."""
        self._bytes = 0
        self.replays = 0
        self._rng = random.Random(7)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Replaying":
        self._thread.start()
        starting = asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0.1)  # what was aborted is closed in the loop's next rounds

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        try:
            with contextlib.suppress(OSError):
                if self._bytes < HONEST_BYTES:
                    await self._relayed(reader, writer)
                else:
                    await self._replayed(reader, writer)
        finally:
            writer.transport.abort()

    async def _relayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.append(far_writer)

        async def up() -> None:
            while data := await reader.read(RELAY_BYTES):
                far_writer.write(data)
                await far_writer.drain()

        sending = asyncio.create_task(up())
        try:
            while self._bytes < HONEST_BYTES and (data := await far_reader.read(RELAY_BYTES)):
                self._bytes += len(data)
                if data.startswith(b"HTTP/1.1 "):
                    self._said.append(data)
                writer.write(data)
                await writer.drain()
        finally:
            sending.cancel()
            far_writer.transport.abort()

    async def _replayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(RELAY_BYTES):
            self.replays += 1
            writer.write(self._rng.choice(self._said))
            await writer.drain()


@pytest.fixture
def stages(start: Path, tmp_path: Path) -> Iterator[list[Stage]]:
    with ExitStack() as stack:
        made = [
            stack.enter_context(Stage(tmp_path / name, start, VERSIONS, 1))
            for name in ("good", "killed", "replaying")
        ]
        for each in made:
            each.open()
        yield made


def test_a_lab_that_dies_and_one_that_replays_disturb_no_other(stages: list[Stage]) -> None:
    good, killed, replaying = stages
    with Replaying(replaying.site.url) as liar:
        home = good.site.home("node")
        urls = [good.site.url, killed.site.url, liar.url]
        named = [word for url in urls for word in ("--lab", url)]
        good.site._start("node", ["node", "start", *named, "--home", str(home), "--no-bid"])
        _wait(killed, 1)
        killed.site.kill("lab")
        _wait(good, VERSIONS)
        good.wait(lambda: liar.replays > 0, "a replay")
        # The lab comes back at its address, and the same node finishes its run.
        killed.site.start_lab(int(urls[1].rsplit(":", 1)[1]))
        _wait(killed, VERSIONS)
        assert good.site.running("node")
        node = good.site._processes.pop("node")
        node.send_signal(signal.SIGINT)
        assert node.wait(LEAVES_S) == 0
        told = json.loads(_status(home))
        assert {each["url"] for each in told["labs"]} <= set(urls)
        assert set(told["machine"]["places"]) == set(urls)
        earned = {each["url"]: each["counted"]["credit_micro"] for each in told["labs"]}
        assert earned[urls[0]] > 0
        assert earned[urls[1]] > 0
        assert len([*(home / "serving").iterdir()]) == len(urls)
    good.finished()
    killed.finished()


def _wait(stage: Stage, version: int) -> None:
    stage.site.wait_until(lambda: stage.version() >= version, f"version {version}", LIMIT_S)


def _status(home: Path) -> bytes:
    command = [
        sys.executable,
        "-m",
        "archipel.cli.archipel",
        "node",
        "status",
        "--offline",
        "--json",
    ]
    environment = {**EVERY_PROCESS, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return subprocess.run(
        [*command, "--home", str(home)],
        check=True,
        capture_output=True,
        timeout=60,
        env=environment,
    ).stdout
