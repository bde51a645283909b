"""One arm of `peers` that is one process: what it is asked, how it keeps time, what it leaves behind.

Parts: `Job` (asked), `Diary` (kept while training), `Result` (left behind), `run_job` (start it and
wait). Law: both trainers are timed by this file: from just before the first update to the end of each
update, without imports and construction, and without the writing of weights for the judge.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

JOB_FILE, RESULT_FILE, OUTPUT_FILE = "job.json", "result.json", "output.txt"
JOB_LIMIT_S = 3600.0
TAIL_CHARACTERS = 2000
"""Of a failed process's output, in the message."""


class PeerFailed(RuntimeError):
    """A trainer's process did not do its job; the message carries the end of its output."""


@dataclass(frozen=True)
class Job:
    """What to train; plain values, because it travels as JSON."""

    recipe: str
    """Canonical bytes as text."""
    secret: str
    """Hexadecimal."""
    start: str
    """Model directory."""
    out: str
    """Folder for everything the process writes."""
    updates: int
    snapshot_every: int
    """Weights are written after every so many updates; 0 for never."""
    threads: int
    variant: str
    """How TRL samples; of no meaning to ours."""

    def snapshot(self, update: int) -> Path:
        """Where the weights after `update` lie."""
        return Path(self.out) / f"update-{update}.safetensors"


@dataclass(frozen=True)
class Result:
    """What training took."""

    software: str
    import_s: float
    construct_s: float
    """From imported to ready for the first update: weights, data set, trainer."""
    points: tuple[tuple[int, float, float], ...]
    """(update, wall-clock seconds, processor seconds) at the end of each update."""
    rewards: tuple[float, ...]
    """Mean of each update's batch."""


@dataclass
class Diary:
    """Kept by the trainer's process."""

    points: list[tuple[int, float, float]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    _wall_s: float = 0.0
    _cpu_s: float = 0.0
    _since: tuple[float, float] = (0.0, 0.0)

    def begin(self) -> None:
        """Start the clock, or let it go on."""
        self._since = (time.perf_counter(), time.process_time())

    def updated(self, update: int, write: Callable[[], None] | None) -> None:
        """Note the end of an update; with the clock stopped, let the judge's copy be written."""
        self._wall_s += time.perf_counter() - self._since[0]
        self._cpu_s += time.process_time() - self._since[1]
        self.points.append((update, self._wall_s, self._cpu_s))
        if write is not None:
            write()
        self.begin()


def read_job(path: Path) -> Job:
    """The job that `run_job` wrote."""
    return Job(**json.loads(path.read_text()))


def write_result(job: Job, result: Result) -> None:
    """Leave the result for `run_job`."""
    (Path(job.out) / RESULT_FILE).write_text(json.dumps(asdict(result)))


def run_job(python: Path, module: str, job: Job, environment: Mapping[str, str]) -> Result:
    """Run `python -m module` on the job and wait for its end.

    Raises:
        PeerFailed: it failed, took longer than an hour, or left no result.
    """
    out = Path(job.out)
    out.mkdir(parents=True)
    (out / JOB_FILE).write_text(json.dumps(asdict(job)))
    variables = {
        **environment,
        "OMP_NUM_THREADS": str(job.threads),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HF_HOME": str(out / "cache"),
    }
    with (out / OUTPUT_FILE).open("wb") as output:
        try:
            code = subprocess.run(  # noqa: S603  our own program, no shell
                [str(python), "-P", "-m", module, str(out / JOB_FILE)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                timeout=JOB_LIMIT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"{module} took longer than {JOB_LIMIT_S:.0f} s") from None
    if code != 0:
        said = (out / OUTPUT_FILE).read_text(errors="replace")[-TAIL_CHARACTERS:]
        raise PeerFailed(f"{module} ended with code {code}:\n{said}")
    return read_result(json.loads((out / RESULT_FILE).read_text()))


def read_result(values: dict[str, Any]) -> Result:
    """JSON has lists where the result has tuples."""
    points = tuple((int(update), float(wall), float(cpu)) for update, wall, cpu in values["points"])
    return Result(**{**values, "points": points, "rewards": tuple(values["rewards"])})
