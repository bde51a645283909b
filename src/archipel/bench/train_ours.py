"""Our update, timed: `python -m archipel.bench.train_ours JOB.json`. What differs between our arms is a section of a recipe."""

import sys
import time
from collections.abc import Mapping
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
from archipel.model.versions import encode_delta
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
    state = trainer.published_state()
    held = describe(state, 0, None, trainer.over)
    reports, version_cpu_s = [], []
    for update in range(job.updates):
        groups = groups_of(job, update)
        watch.begin()
        reports.append(trainer.update(groups))
        watch.end()
        began_s = time.process_time()
        moved = trainer.published_state()
        manifest = describe(moved, update + 1, held.state, trainer.over)
        encode_delta(state, moved, held, manifest)
        state, held = moved, manifest
        version_cpu_s.append(time.process_time() - began_s)
    return Outcome(
        software=f"torch {torch.__version__}",
        seconds=tuple(watch.seconds),
        cpu_s=tuple(watch.cpu_s),
        tokens=tuple(report.tokens for report in reports),
        losses=tuple(report.loss for report in reports),
        grad_norms=tuple(report.grad_norm for report in reports),
        peak_bytes=watch.peak_bytes(),
        version_cpu_s=tuple(version_cpu_s),
    )


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_outcome(job, train(job))
