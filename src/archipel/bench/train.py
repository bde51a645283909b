"""Our update beside a plain loop of torch and beside TRL's: tokens a second and memory, on one machine.

One process for each arm and seed, in an order that turns with the seed; same weights, data, bound on tokens at a time
and settings of AdamW. Sampling and grading are nobody's part here: every arm learns from the same rollouts.
What it does not show: whether anything is learned (`bench peers`, `bench real`), nor several devices.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from archipel.bench.kept import Kept
from archipel.bench.train_job import RESULT_FILE, Outcome, TrainJob, outcome_from, read_outcome

OURS, PLAIN, TRL = "ours", "plain loop", "TRL"
THRIFTY = ("ours, 8 bit", "ours, recomputed", "ours, offloaded", "ours, all three", "ours, LoRA")
ARMS = (OURS, PLAIN, TRL, *THRIFTY)
MODULES = {PLAIN: "archipel.bench.train_plain", TRL: "archipel.bench.train_trl"}
JOB_FILE, OUTPUT_FILE = "job.json", "output.txt"
JOB_LIMIT_S = 3600.0
TAIL_CHARACTERS = 600


@dataclass(frozen=True)
class TrainPlan:
    """What is measured."""

    sizes: tuple[str, ...] = ("30m", "100m")
    arms: tuple[str, ...] = (OURS, PLAIN, TRL)
    lengths: tuple[str, ...] = ("uneven", "even")
    dtypes: tuple[str, ...] = ("float32",)
    seeds: tuple[int, ...] = (0, 1, 2)
    updates: int = 5
    """The first of them is not counted."""
    groups: int = 4
    group_size: int = 8
    micro_batch_tokens: int = 4096
    device: str = "cpu"
    threads: int = 1


QUICK = replace(TrainPlan(), sizes=("30m",), seeds=(0,), updates=3, lengths=("uneven",))
ON_GPU = replace(
    TrainPlan(),
    sizes=("30m", "100m", "350m"),
    dtypes=("float32", "bfloat16"),
    updates=8,
    groups=16,
    micro_batch_tokens=16_384,
    device="cuda",
)
QUICK_ON_GPU = replace(ON_GPU, sizes=("100m",), seeds=(0,), updates=5, lengths=("uneven",))


@dataclass(frozen=True)
class Tools:
    """Interpreters, and the environment of every process that is started."""

    ours: Path
    theirs: Path | None
    """Where TRL is installed; None: nowhere."""
    environment: Mapping[str, str]


@dataclass(frozen=True)
class TrainArm:
    """One process, or why there is no figure of it."""

    job: TrainJob
    outcome: Outcome | None
    missing: str
    load: float
    """Mean number of runnable processes on the machine in the minute before: 0 when it is ours alone."""

    @property
    def tokens_per_s(self) -> float:
        """Sampled tokens learned from in a second, by the median update after the first."""
        return _per(self.outcome, "seconds")

    @property
    def tokens_per_cpu_s(self) -> float:
        """The same of a processor second."""
        return _per(self.outcome, "cpu_s")


def _per(outcome: Outcome | None, key: str) -> float:
    if outcome is None:
        return 0.0
    spent = getattr(outcome, key)[1:] or getattr(outcome, key)
    rates = sorted(
        count / max(s, 1e-9) for count, s in zip(outcome.tokens[-len(spent) :], spent, strict=True)
    )
    return float(rates[len(rates) // 2])


def measure(
    plan: TrainPlan, folder: Path, tools: Tools, on_arm: Callable[[TrainArm], None]
) -> list[TrainArm]:
    """Every arm of every size, type and lengths; seeds one after the other, in an order that turns.

    Those with figures that this folder has already are read; one that could not run is tried again.
    """
    arms: list[TrainArm] = []
    kept = Kept(folder)
    for size in plan.sizes:
        for lengths in plan.lengths:
            for dtype in plan.dtypes:
                for turn, seed in enumerate(plan.seeds):
                    first = turn % len(plan.arms)
                    for arm in (*plan.arms[first:], *plan.arms[:first]):
                        job = _job(plan, (arm, size, lengths, dtype), seed, folder)
                        arms.append(_kept_or_run(job, tools, kept))
                        on_arm(arms[-1])
    return arms


def _job(plan: TrainPlan, what: tuple[str, str, str, str], seed: int, folder: Path) -> TrainJob:
    arm, size, lengths, dtype = what
    name = "-".join((*what, str(seed))).replace(" ", "-").replace(",", "")
    return TrainJob(
        arm=arm,
        size=size,
        lengths=lengths,
        dtype=dtype,
        device=plan.device,
        threads=plan.threads,
        seed=seed,
        updates=plan.updates,
        groups=plan.groups,
        group_size=plan.group_size,
        micro_batch_tokens=plan.micro_batch_tokens,
        out=str(folder.absolute() / name),
    )


def _kept_or_run(job: TrainJob, tools: Tools, kept: Kept) -> TrainArm:
    asked = {"kind": "train"} | {key: value for key, value in asdict(job).items() if key != "out"}
    found = kept.find(asked)
    if found is not None:
        return TrainArm(job, outcome_from(found["outcome"]), "", found["load"])
    arm = _run(job, tools)
    if arm.outcome is not None:
        kept.keep(asked, {"outcome": asdict(arm.outcome), "load": arm.load})
    return arm


def _run(job: TrainJob, tools: Tools) -> TrainArm:
    load, python = os.getloadavg()[0], tools.theirs if job.arm == TRL else tools.ours
    if python is None:
        return TrainArm(job, None, "TRL is not installed: name its environment with --venv", load)
    out = Path(job.out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / JOB_FILE).write_text(json.dumps(asdict(job)))
    module = MODULES.get(job.arm, "archipel.bench.train_ours")
    command = [str(python), "-P", "-m", module, str(out / JOB_FILE)]
    with (out / OUTPUT_FILE).open("wb") as output:
        why = _ended(command, {**tools.environment, **_variables(job)}, output.fileno())
    if why or not (out / RESULT_FILE).is_file():
        said = (out / OUTPUT_FILE).read_text(errors="replace")[-TAIL_CHARACTERS:].strip()
        return TrainArm(job, None, f"{why}: {said.splitlines()[-1] if said else ''}", load)
    return TrainArm(job, read_outcome(out), "", load)


def _variables(job: TrainJob) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(job.threads),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HF_HOME": str(Path(job.out) / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


def _ended(command: Sequence[str], environment: Mapping[str, str], output: int) -> str:
    """Run it to its end; why it did not end well, or nothing."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            timeout=JOB_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {JOB_LIMIT_S:.0f} s"
    return "" if done.returncode == 0 else f"ended with code {done.returncode}"
