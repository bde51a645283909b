"""Our centralised arm as a process: `python -m archipel.bench.peers_central JOB.json`.

The loop is `training.rl.reinforce` with the local engine and in-process grading, nothing else; it is
run, timed and judged exactly as the other trainer's process is.
"""

import sys
import time
from functools import partial
from pathlib import Path

from archipel.bench.peers_job import Diary, Job, Result, read_job, write_result
from archipel.records.recipe import recipe_from_canonical


def train(job: Job) -> Result:
    """Run the job."""
    began = time.perf_counter()
    import torch
    from safetensors.torch import save_file

    from archipel.bench.central import Bench, grader_for
    from archipel.engine.engine import LocalEngine
    from archipel.model.directory import read_model
    from archipel.model.tokenizer import Tokenizer
    from archipel.training.environments.environment import make_environment
    from archipel.training.report import UpdateReport
    from archipel.training.rl import reinforce
    from archipel.training.trainer import Trainer

    torch.set_num_threads(job.threads)
    imported_s = time.perf_counter() - began
    recipe = recipe_from_canonical(job.recipe.encode())
    model = read_model(Path(job.start))
    environment = make_environment(recipe.environment, recipe.run.seed, bytes.fromhex(job.secret))
    tokenizer = Tokenizer.from_directory(Path(job.start))
    engine = LocalEngine(model.config)
    grader = grader_for(recipe, environment, bytes.fromhex(job.secret))
    bench = Bench(recipe, environment, tokenizer, model.config, {}, engine, grader)
    trainer = Trainer(model, recipe)
    diary = Diary()

    def keep(update: int) -> None:
        save_file(trainer.published_state(), job.snapshot(update))

    def note(report: UpdateReport) -> None:
        diary.rewards.append(report.reward_mean)
        due = job.snapshot_every and report.version % job.snapshot_every == 0
        diary.updated(report.version, partial(keep, report.version) if due else None)

    constructed_s = time.perf_counter() - began - imported_s
    diary.begin()
    reinforce(trainer, bench.rehearsal(), note)
    return _result(diary, imported_s, constructed_s)


def _result(diary: Diary, imported_s: float, constructed_s: float) -> Result:
    import torch

    from archipel import __version__

    return Result(
        software=f"archipel {__version__}, torch {torch.__version__}",
        import_s=imported_s,
        construct_s=constructed_s,
        points=tuple(diary.points),
        rewards=tuple(diary.rewards),
    )


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_result(job, train(job))
