"""What training an adapter costs beside training whole weights: bytes of a version, time and memory of an update.

Parts: `Job` and `do` (one arm, in a process of its own, so that its peak of memory is its own), `measure`, `table`.
Weights are random and completions too: neither bytes nor time hang on what is learned.
"""

import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.subjects import subject_named
from archipel.engine.engine import LocalEngine, Request
from archipel.model.adapter import Adapter, base_state
from archipel.model.config import DecoderConfig
from archipel.model.manifest import describe
from archipel.model.network import Decoder, random_weights
from archipel.model.versions import apply_delta, encode_anchor, encode_delta
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.trainer import Trainer

MODELS = ("demo", "30m", "135m")
JOB_LIMIT_S = 1800.0
PROMPT, NEW = 32, 32
_TAIL = 1500


@dataclass(frozen=True)
class Job:
    """One arm."""

    model: str
    rank: int
    """0 trains whole weights."""
    learning_rate: float
    updates: int
    groups: int
    group_size: int


class JobFailed(RuntimeError):
    """A process did not do its job; the message carries the end of its output."""


def config_of(name: str) -> DecoderConfig:
    """Of `demo`, `30m`, or `135m`: the shape of SmolLM2-135M."""
    if name == "135m":
        return DecoderConfig("llama", 49152, 576, 30, 9, 3, 64, 1536, 2048)
    return subject_named(name).config


def measure(
    models: Sequence[str], ranks: Sequence[int], updates: int, environment: Mapping[str, str],
    on_progress: Callable[[str], None],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each model and way of training.

    Raises:
        JobFailed: a process ended badly, or took half an hour.
    """
    rows = []
    for model in models:
        for rank in (0, *ranks):
            job = Job(model, rank, 1e-5 if rank == 0 else 1e-4, updates, 8, 4)
            on_progress(f"{model}, {_way(rank)}")
            rows.append(asdict(job) | _in_a_process(job, environment))
    return rows


def _in_a_process(job: Job, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "archipel.bench.adapters", json.dumps(asdict(job))]
    try:
        done = subprocess.run(  # noqa: S603  our own module
            command, env=dict(environment), capture_output=True, text=True, timeout=JOB_LIMIT_S, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise JobFailed(f"{job} took more than {JOB_LIMIT_S:.0f} s") from None
    if done.returncode != 0:
        raise JobFailed(f"{job} failed: {done.stderr[-_TAIL:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def do(job: Job) -> dict[str, Any]:
    """Train, publish and sample; medians over updates, the first left out."""
    config = config_of(job.model)
    model = random_weights(config, 0)
    trainer = Trainer(model, _recipe(job))
    before = trainer.published_state()
    held = describe(before, 0, None, trainer.over)
    cpu_s, deltas = [], []
    for number in range(job.updates + 1):
        began_s = time.process_time()
        trainer.update(_groups(job, config, number))
        cpu_s.append(time.process_time() - began_s)
        state = trainer.published_state()
        manifest = describe(state, number + 1, held.state, trainer.over)
        delta = encode_delta(before, state, held, manifest)
        apply_delta(before, held, delta, manifest)
        deltas.append(len(delta))
        before, held = state, manifest
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder))
        checkpoint = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "trained_weights": held.num_bytes // 2,
        "version_bytes": held.num_bytes,
        "anchor_bytes": len(encode_anchor(before)),
        "delta_bytes": _median(deltas[1:]),
        "checkpoint_bytes": checkpoint,
        "update_cpu_s": _median(cpu_s[1:]),
        "update_peak_bytes": peak,
        "tokens": job.groups * job.group_size * NEW,
        "sampled_per_cpu_s": _sampled_per_s(trainer, model),
    }


def _recipe(job: Job) -> Recipe:
    sections: dict[str, Any] = {
        "run": {"name": "bench", "versions": job.updates + 1, "groups_per_update": job.groups, "group_size": job.group_size},
        "environment": {"name": "secret_order"},
        "optimiser": {"learning_rate": job.learning_rate, "warmup_steps": 0, "micro_batch_tokens": 2048},
    }  # fmt: skip
    if job.rank:
        sections["adapter"] = {"rank": job.rank}
    return Recipe.model_validate(sections)


def _groups(job: Job, config: DecoderConfig, version: int) -> list[Group]:
    """Random tokens, under the even distribution that random weights give nearly."""
    rng, size, logprob = random.Random(version), config.vocab_size, -math.log(config.vocab_size)  # noqa: S311  no secret

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(size) for _ in range(count))

    return [
        Group(
            index=version * job.groups + number,
            prompt=tokens(PROMPT),
            rollouts=tuple(
                Rollout(tokens(NEW), (logprob,) * NEW, True) for _ in range(job.group_size)
            ),
            rewards=tuple(rng.random() for _ in range(job.group_size)),
            policy_version=version,
        )
        for number in range(job.groups)
    ]


def _sampled_per_s(trainer: Trainer, model: Decoder) -> float:
    state, name = trainer.published_state(), None
    engine = LocalEngine(model.config)
    if trainer.over is None:
        engine.load(state)
    else:
        name = "bench"
        engine.load(base_state(model))
        engine.adapt(name, Adapter(trainer.over.form, state))
    request = Request("bench", tuple(range(PROMPT)), 1, 16, NEW, adapter=name)
    engine.generate([request])
    began_s = time.process_time()
    made = engine.generate([request])[0]
    return sum(len(each.tokens) for each in made) / (time.process_time() - began_s)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """For people."""
    lines = [
        "model  trained          version      anchor       delta        checkpoint   update     peak      sampling"
    ]
    for row in rows:
        sizes = "  ".join(
            f"{row[key] / 1e6:>8.3f} MB"
            for key in ("version_bytes", "anchor_bytes", "delta_bytes", "checkpoint_bytes")
        )
        lines.append(
            f"{row['model']:<5}  {_way(row['rank']):<13}  {sizes}  {row['update_cpu_s']:>7.2f} s  "
            f"{row['update_peak_bytes'] / 2**20:>6.0f} MiB  {row['sampled_per_cpu_s']:>6.0f} tokens/s"
        )
    lines.append(
        "update and sampling: by processor seconds of one thread; a delta as of the learning rates in --json"
    )
    return "\n".join(lines)


def _way(rank: int) -> str:
    return f"LoRA rank {rank}" if rank else "whole weights"


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(do(Job(**json.loads(sys.argv[1])))))  # noqa: T201  read by the parent
