"""A run of a real model in one process: `python -m archipel.bench.real_central JOB.json`.

As `peers_central`, with the engine in bf16, and with rewards that are drawn instead of earned where the job says
so: the control that shows whether what is learned comes from the rewards.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.bench.peers_job import Diary, Job, Result, read_job, write_result
from archipel.records.recipe import recipe_from_canonical
from archipel.training.grading import Submission
from archipel.training.rl import Grade

if TYPE_CHECKING:
    from torch import Tensor

EARNED, DRAWN = "earned", "drawn"
"""Variants of a job."""
DRAWN_SHARE = 0.35
"""Of completions that earn 1 by chance: near what is earned in the middle of training."""


def train(job: Job) -> Result:
    """Run the job."""
    began = time.perf_counter()
    import torch
    from safetensors.torch import save_file

    from archipel import __version__
    from archipel.bench.central import Bench
    from archipel.engine.engine import LocalEngine
    from archipel.model.directory import read_model
    from archipel.model.tokenizer import Tokenizer
    from archipel.training.environments.environment import make_environment
    from archipel.training.report import UpdateReport
    from archipel.training.rl import Rehearsal, reinforce
    from archipel.training.trainer import Trainer

    torch.set_num_threads(job.threads)
    imported_s = time.perf_counter() - began
    recipe, start = recipe_from_canonical(job.recipe.encode()), Path(job.start)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    model, tokenizer = read_model(start), Tokenizer.from_directory(start)
    engine = LocalEngine(model.config, dtype=torch.bfloat16)
    below = {} if recipe.adapter is None else weights(start)
    bench = Bench(recipe, environment, tokenizer, model.config, below, engine, None)
    grade = bench.grade if job.variant == EARNED else drawn_rewards(recipe.run.seed)
    trainer, diary = Trainer(model, recipe), Diary()

    def keep(update: int) -> None:
        save_file(trainer.published_state(), job.snapshot(update))

    def note(report: UpdateReport) -> None:
        diary.rewards.append(report.reward_mean)
        is_due, version = is_kept(job, report.version), report.version
        diary.updated(version, partial(keep, version) if is_due else None)

    constructed_s = time.perf_counter() - began - imported_s
    diary.begin()
    reinforce(trainer, Rehearsal(recipe, environment, tokenizer, bench.sample, grade), note)
    made_by = f"archipel {__version__}, torch {torch.__version__}"
    return Result(made_by, imported_s, constructed_s, tuple(diary.points), tuple(diary.rewards))


def weights(start: Path) -> "dict[str, Tensor]":
    """What an adapter lies over, as a node holds it."""
    import torch

    from archipel.model.directory import read_model

    model = read_model(start, torch.bfloat16)
    return {name: each.detach() for name, each in model.named_parameters()}


def is_kept(job: Job, update: int) -> bool:
    """Whether the weights after this update are judged: every so many, and the last."""
    is_due = job.snapshot_every > 0 and update % job.snapshot_every == 0
    return is_due or update == job.updates


def drawn_rewards(seed: int) -> Grade:
    """Rewards by chance, the same for the same seed, whatever the completions."""
    import numpy as np

    draw = np.random.Generator(np.random.Philox(key=seed))

    def grade(submissions: Sequence[Submission]) -> list[float]:
        return [float(each < DRAWN_SHARE) for each in draw.random(len(submissions))]

    return grade


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_result(job, train(job))
