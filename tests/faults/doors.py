"""Kinds `training door` and `model's door`: one process that people ask over HTTP, behind a bad network, beset.

Clients ask again as public clients do; what they were told at the end is what they are told when nothing happens.
Nothing signs what a door answers but TLS, so its network may cut, delay and go silent, and leaves bytes as they are.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from archipel import source_environment
from faults.afflictions import SHORT_OF, STARVED, STARVING, is_borne, stepped
from faults.proxy import KEPT_WHOLE, BadNetwork
from faults.watching import SAYS_WHERE, last_traceback, made_to_end
from ports import free_port
from stage import EVERY_PROCESS

ODDS = {
    "kill": 5,
    "term": 2,
    "int": 1,
    "stall": 5,
    "partition": 4,
    "clock step": 3,
    "descriptors": 3,
    "memory": 2,
    "full disk": 4,
}
SLOW_TO_START = {**ODDS, "kill": 2, "term": 1, "memory": 1}
"""Of a door that loads a tensor library first."""
MOST = 50
PAUSE_S = (0.05, 0.5)
LASTS_S = (0.2, 2.0)
BESET_S = 120.0
END_S = 30.0
PATIENCE_S = 240.0
"""A client that had no answer for so long gives up, and that is wrong: a busy machine loads a model for a minute."""
BUSY = frozenset({429, 503, 507})
"""What a door may say when it is short of something: ask again."""
SPOILT = 20
TESTS = Path(__file__).parents[1]


class DoorProcess:
    """The process, its clock, the way to it, and what befalls them."""

    def __init__(self, name: str, folder: Path, seed: str, odds: Mapping[str, int] = ODDS) -> None:
        """odds: what may befall it -> how likely."""
        from faults.clocks import SHIM

        folder.mkdir(parents=True)
        self.name, self.folder, self.wrong = name, folder, list[str]()
        self.hits: Counter[str] = Counter()
        self.port = free_port()
        self._rng = random.Random(seed)
        self._clock = folder / "door.clock"
        self._clock.write_text("0 1.0")
        source = source_environment()
        self._environment = {
            **source,
            **EVERY_PROCESS,
            **SAYS_WHERE,
            "HOME": str(folder),
            "FAULTS_CLOCK": str(self._clock),
            "PYTHONPATH": os.pathsep.join([str(SHIM), source.get("PYTHONPATH", ""), str(TESTS)]),
        }
        self._odds = dict(odds)
        self._words: Sequence[str] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._passing: list[tuple[float, Callable[[], None]]] = []
        self._short_of = set[str]()
        self.network = BadNetwork(self.port, f"{seed} network", SPOILT, KEPT_WHOLE)

    def start(self, *words: str) -> None:
        """Words for Python; later starts take the same."""
        self._words = words or self._words
        with (self.folder / "door.out").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self._words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    async def beset(self, until: Callable[[], bool]) -> None:
        """Fault after fault until there were enough, or `until` holds."""
        deadline = time.monotonic() + BESET_S
        while self.hits.total() < MOST and time.monotonic() < deadline and not until():
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))
            await self.revive()
            (kind,) = self._rng.choices(list(self._odds), list(self._odds.values()))
            await self._strike(kind)
            self._pass()
        self._pass(everything=True)
        self.network.calm()

    async def revived_until(self, until: Callable[[], bool]) -> None:
        """Start it again whenever it ended by itself."""
        while not until():
            await self.revive()
            await asyncio.sleep(0.2)

    async def revive(self) -> None:
        """Whoever ended in words is started again."""
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            if not is_borne(code, self._short_of):
                self.wrong.append(f"it ended with code {code}")
            self._passing.clear()
            await asyncio.sleep(0.1)
            self.start()

    async def _strike(self, kind: str) -> None:
        assert self._process is not None
        pid = self._process.pid
        if kind in ("kill", "term", "int"):
            await self.end(kind)
            self.start()
        elif kind == "clock step":
            stepped(self._clock, self._rng)
        elif kind == "partition":
            self.network.part()
            self._until(self.network.heal)
        else:
            self._short_of.add(kind)
            self._until(SHORT_OF[kind]([pid], self._rng))
        self.hits[f"{kind}: {self.name}"] += 1

    def _until(self, undo: Callable[[], None]) -> None:
        self._passing.append((time.monotonic() + self._rng.uniform(*LASTS_S), undo))

    def _pass(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        for each in list(self._passing):
            if everything or each[0] < now:
                self._passing.remove(each)
                each[1]()

    async def end(self, how: str) -> None:
        """Kill it, or ask it to end; one that does not is wrong."""
        process = self._process
        assert process is not None
        self._pass(everything=True)
        numbers = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
        with suppress(ProcessLookupError):
            process.send_signal(numbers[how])
        deadline = time.monotonic() + END_S
        while process.poll() is None:
            if time.monotonic() > deadline:
                self.wrong.append(f"it did not end within {END_S:.0f} s of {how}")
                made_to_end(process)
            await asyncio.sleep(0.02)

    def all_hits(self) -> dict[str, int]:
        """With those of its network, whose partitions are among the others."""
        told = {f"{what}: network": n for what, n in self.network.faults.items()}
        return dict(self.hits) | {what: n for what, n in told.items() if "partition" not in what}

    def traceback(self) -> list[str]:
        """What it said that is no sentence."""
        line = last_traceback(self.folder / "door.out")
        is_starved = not STARVING.isdisjoint(self._short_of)
        if line is not None and is_starved and line.startswith(STARVED):
            return []
        return [] if line is None else [f"a traceback: {line}"]

    def close(self) -> None:
        """End everything."""
        self._pass(everything=True)
        self.network.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


async def patiently(
    ask: Callable[[], Awaitable[httpx.Response]], tell: Callable[[str], None]
) -> httpx.Response:
    """An answer that is neither a broken connection nor a word to come again.

    Raises:
        TimeoutError: there was none.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await ask()
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code < 500 and answer.status_code not in BUSY:
                return answer
            if answer.status_code not in BUSY:
                tell(f"it answered {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(0.2)


def calm_answers(folder: Path, lived: Callable[[], tuple[Any, Sequence[str]]]) -> Any:
    """What an undisturbed door told, lived once for a campaign."""
    told = folder / "told.json"
    if not told.exists():
        shutil.rmtree(folder, ignore_errors=True)
        found, wrong = lived()
        if wrong:
            raise AssertionError(f"the undisturbed door: {wrong}")
        told.write_text(json.dumps(found))
    return json.loads(told.read_text())
