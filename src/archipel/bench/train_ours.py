"""Our update, timed: `python -m archipel.bench.train_ours JOB.json`. What differs between our arms is a section of a recipe."""

import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from archipel.bench.train_job import (
    Outcome,
    TrainJob,
    Watch,
    config_of,
    groups_of,
    read_job,
    recipe_of,
    write_outcome,
)
from archipel.model.manifest import describe
from archipel.model.network import random_weights
from archipel.training.trainer import Trainer

RANK = 16
ARMS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "ours, 8 bit": {"memory": {"moments": "8bit"}},
    "ours, recomputed": {"memory": {"recompute_layers": True}},
    "ours, offloaded": {"memory": {"offload": True}},
    "ours, all three": {"memory": {"moments": "8bit", "recompute_layers": True, "offload": True}},
    "ours, LoRA": {"adapter": {"rank": RANK}},
}
"""Arm -> sections of its recipe."""


def train(job: TrainJob) -> Outcome:
    """Run the job."""
    torch.set_num_threads(job.threads)
    watch = Watch(job.device)
    sections = dict(ARMS[job.arm])
    sections["memory"] = {"compute": job.dtype, **sections.get("memory", {})}
    model = random_weights(config_of(job), job.seed).to(job.device)
    trainer = Trainer(model, recipe_of(job, **sections))
    versions = _Versions(trainer)
    reports = []
    for update in range(job.updates):
        groups = groups_of(job, update)
        watch.begin()
        reports.append(trainer.update(groups))
        watch.end()
        versions.make()
    return Outcome(
        software=f"torch {torch.__version__}",
        seconds=tuple(watch.seconds),
        cpu_s=tuple(watch.cpu_s),
        tokens=tuple(report.tokens for report in reports),
        losses=tuple(report.loss for report in reports),
        grad_norms=tuple(report.grad_norm for report in reports),
        peak_bytes=watch.peak_bytes(),
        version_cpu_s=tuple(versions.cpu_s),
    )


class _Versions:
    """What follows an update: its weights rounded, digests of them, and the delta to the version before."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._state = trainer, trainer.published_state()
        self._held = describe(self._state, 0, None, trainer.over)
        self.cpu_s: list[float] = []

    def make(self) -> None:
        """Of the weights that the trainer has now; without the library for deltas nothing is made."""
        if find_spec("zstandard") is None:
            return
        from archipel.model.versions import encode_delta

        began_s, trainer = time.process_time(), self._trainer
        moved = trainer.published_state()
        manifest = describe(moved, trainer.version, self._held.state, trainer.over)
        encode_delta(self._state, moved, self._held, manifest)
        self._state, self._held = moved, manifest
        self.cpu_s.append(time.process_time() - began_s)


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_outcome(job, train(job))
