"""One arm of `archipel bench train`: what it is asked, what it trains on, how it keeps time, what it leaves behind.

Parts: `TrainJob` (asked; JSON), `config_of` and `recipe_of` and `groups_of` (model, settings and data, the same for every
arm), `Watch` (time, processor time and memory around each update), `Outcome` (left behind).
Law: data are a function of the seed and the update's number; nothing of this needs more than torch and the records.
"""

import json
import math
import os
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from archipel.bench.processor import memory_bytes
from archipel.model.config import DecoderConfig
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group

SIZES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "1m": (512, 128, 2, 4, 2, 352),
    "30m": (8192, 512, 8, 8, 4, 1408),
    "100m": (32_000, 768, 12, 12, 4, 2048),
    "350m": (32_000, 1024, 24, 16, 8, 3072),
}
"""Vocabulary, width, layers, heads, key heads, inner width; Qwen3 with heads of width / heads."""
UNEVEN, EVEN = "uneven", "even"
LENGTHS: Mapping[str, tuple[int, int, int]] = {UNEVEN: (64, 32, 192), EVEN: (16, 241, 241)}
"""Tokens of a prompt, fewest and most of a completion. In `even` nothing can be saved: rows are full and share next to
no prompt."""
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class TrainJob:
    """Plain values, because it travels as JSON."""

    arm: str
    size: str
    lengths: str
    dtype: str
    """What is computed in; masters and moments are float32 unless the arm says otherwise."""
    device: str
    threads: int
    seed: int
    updates: int
    groups: int
    group_size: int
    micro_batch_tokens: int
    out: str
    """Folder for what the process writes."""


@dataclass(frozen=True)
class Outcome:
    """What an arm's process measured."""

    software: str
    seconds: tuple[float, ...]
    """Of each update, by the clock."""
    cpu_s: tuple[float, ...]
    """The same in processor seconds of all threads."""
    tokens: tuple[int, ...]
    """Sampled tokens of each update."""
    losses: tuple[float, ...]
    grad_norms: tuple[float, ...]
    """Before clipping; empty where the arm does not tell."""
    peak_bytes: int
    """Most memory at once: on a GPU what was allocated, else what the process held above what it held before it
    had a model."""
    version_cpu_s: tuple[float, ...] = ()
    """Of making a version of an update's weights: rounding, digests, delta; ours alone makes one."""


def config_of(job: TrainJob) -> DecoderConfig:
    """The model's shape."""
    vocabulary, width, layers, heads, kv_heads, inner = SIZES[job.size]
    return DecoderConfig(
        "qwen3", vocabulary, width, layers, heads, kv_heads, width // heads, inner, 1024
    )


def recipe_of(job: TrainJob, **sections: Any) -> Recipe:
    """One optimiser step of a clipped policy gradient, the token mean over the batch."""
    run = {
        "name": "bench",
        "versions": job.updates,
        "groups_per_update": job.groups,
        "group_size": job.group_size,
        "seed": job.seed,
    }
    return Recipe.model_validate(
        {
            "run": run,
            "environment": {"name": "secret_order"},
            "sampling": {"max_new_tokens": LENGTHS[job.lengths][2]},
            "loss": {"name": "ppo_clip"},
            "optimiser": {
                "learning_rate": 1e-5,
                "warmup_steps": 0,
                "micro_batch_tokens": job.micro_batch_tokens,
            },
        }
        | sections
    )


def groups_of(job: TrainJob, update: int) -> list[Group]:
    """Random tokens and rewards, under the even distribution that random weights give nearly."""
    rng, size = random.Random(f"{job.seed}:{update}"), SIZES[job.size][0]  # noqa: S311 - no secret
    prompt_tokens, fewest, most = LENGTHS[job.lengths]

    def rollout() -> Rollout:
        count = rng.randint(fewest, most)
        tokens = tuple(rng.randrange(size) for _ in range(count))
        return Rollout(tokens, (-math.log(size),) * count, True)

    return [
        Group(
            index=update * job.groups + number,
            prompt=tuple(rng.randrange(size) for _ in range(prompt_tokens)),
            rollouts=tuple(rollout() for _ in range(job.group_size)),
            rewards=tuple(rng.random() for _ in range(job.group_size)),
            policy_version=update,
        )
        for number in range(job.groups)
    ]


@dataclass
class Watch:
    """Kept by the arm's process; begun before it has a model."""

    device: str
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    counts_from_here: bool = True
    """False where the kernel lets no process begin its peak anew: what came before may then hide what came after."""
    _before: int = 0
    _since: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.is_gpu:
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:  # counted from here on, whatever this process held before
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                self.counts_from_here = False
            self._before = memory_bytes(os.getpid())[0]

    @property
    def is_gpu(self) -> bool:
        """Whether memory is a GPU's."""
        return torch.device(self.device).type == "cuda"

    def begin(self) -> None:
        """An update is about to begin."""
        self._wait()
        self._since = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """It has ended."""
        self._wait()
        self.seconds.append(time.perf_counter() - self._since[0])
        self.cpu_s.append(time.process_time() - self._since[1])

    def peak_bytes(self) -> int:
        """See `Outcome`."""
        if self.is_gpu:
            return torch.cuda.max_memory_allocated(self.device)
        return max(memory_bytes(os.getpid())) - self._before

    def _wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize(self.device)


def read_job(path: Path) -> TrainJob:
    """What the parent wrote."""
    return TrainJob(**json.loads(path.read_text()))


def write_outcome(job: TrainJob, outcome: Outcome) -> None:
    """Leave it for the parent."""
    (Path(job.out) / RESULT_FILE).write_text(json.dumps(asdict(outcome)))


def read_outcome(folder: Path) -> Outcome:
    """What `write_outcome` left there."""
    return outcome_from(json.loads((folder / RESULT_FILE).read_text()))


def outcome_from(values: Mapping[str, Any]) -> Outcome:
    """JSON has lists where the outcome has tuples."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Outcome(**fields)
