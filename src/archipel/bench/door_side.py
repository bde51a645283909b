"""One process that does a `Work` when it is told to, and says what that took: its own time, its own memory.

Parts: `Process` (from outside: `start`, `ready`, `tell`, `hear`, `end`), `main` (inside). A line of JSON in, a line of JSON out.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from archipel.bench.processor import memory_bytes

START_S, ROUND_S, END_S = 300.0, 1800.0, 10.0
_TAIL = 1500


class SideFailed(RuntimeError):
    """A process ended badly or was silent; the message carries the end of its output."""


@dataclass
class Process:
    """From outside."""

    module: str
    said: Mapping[str, Any]
    """What it is told at first."""
    log: Path
    environment: Mapping[str, str]
    _process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Begin to load."""
        command = [sys.executable, "-m", self.module, json.dumps(self.said)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=dict(self.environment),
            )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        """What it says once it has loaded. Raises SideFailed."""
        return self.hear(START_S)

    def tell(self, **asked: Any) -> None:
        """Let it do something. Raises SideFailed."""
        try:
            _, to_it = self._pipes
            to_it.write(json.dumps(asked) + "\n")
            to_it.flush()
        except OSError:
            raise self._failed("ended") from None

    def hear(self, within_s: float = ROUND_S) -> dict[str, Any]:
        """What came of it. Raises SideFailed."""
        from_it, _ = self._pipes
        # Nothing is said unasked, so what was read ahead is never more than the line that is waited for.
        if not select.select([from_it], [], [], within_s)[0]:
            raise self._failed(f"said nothing for {within_s:.0f} s")
        line = from_it.readline()
        if not line:
            raise self._failed("ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Have it leave, by force if it will not."""
        if self._process is None:
            return
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        process.wait(END_S)

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        """What it says, and what it hears."""
        process = self._process
        if process is None or process.stdout is None or process.stdin is None:
            raise SideFailed("a process that was not started was asked something")
        return process.stdout, process.stdin

    def _failed(self, how: str) -> SideFailed:
        said = self.log.read_text(errors="replace")[-_TAIL:].strip()
        return SideFailed(f"the process for {dict(self.said)} {how}: {said}")


@contextlib.contextmanager
def ending(processes: Sequence[Process]) -> Iterator[None]:
    """Whatever happens inside, they are ended."""
    try:
        yield
    finally:
        for each in processes:
            each.end()


def say(found: Mapping[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(found), flush=True)  # noqa: T201  read by the parent


def memory() -> dict[str, int]:
    """Of this process, in bytes: highest so far, and its own and its part of what is shared now (0: unknown)."""
    try:
        _, peak = memory_bytes(os.getpid())
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except (OSError, KeyError):
        return {"peak": 0, "pss": 0}
    pss = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return {"peak": peak, "pss": pss}


def main(said: str) -> None:
    """Inside: load, then a round for each line until there are no more."""
    import torch

    from archipel.bench.door_work import Step, Work, side_of

    work = Work(**json.loads(said))
    torch.set_num_threads(work.threads)
    side = side_of(work)
    say({"ready": asdict(work)})
    for line in sys.stdin:
        asked = json.loads(line)
        began_s, began_cpu_s, loss = time.perf_counter(), time.process_time(), 0.0
        for number in range(asked["first"], asked["first"] + asked["steps"]):
            loss = side.step(Step(number, asked["length"]))
        took = {
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - began_cpu_s,
        }
        say({**took, **memory(), "loss": loss, "digest": side.digest()})


if __name__ == "__main__":
    main(sys.argv[1])
