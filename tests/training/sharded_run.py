"""`python sharded_run.py DIRECTORY RANK`, as torchrun would start it: what one process did, done again by two."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from archipel.model.manifest import describe
from archipel.records.recipe import SupervisedSection
from archipel.training.sft import SupervisedStage, supervise
from archipel.training.trainer import Trainer
from training.sft_examples import repeat_first
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe

VERSIONS = 4
SFT = SupervisedSection(steps=4, batch_size=5, learning_rate=1e-2, warmup_steps=2, decay_steps=1)


SECTIONS = {
    "optimiser": {"micro_batch_tokens": 64},
    "loss": {"entropy_bonus": 0.05, "mean_over": "sequences"},
    "reference": {"coefficient": 0.2, "version": 1},
}
"""Whatever a loss may hold is the same over two processes."""


def groups_of(version):
    return tiny_groups(tiny_model(9), version, num_groups=3)


def told(report) -> dict:
    return {name: value for name, value in asdict(report).items() if value is not None}


def chain(directory: Path) -> list[dict]:
    """A run from its start, each version saved in its own directory before it is updated."""
    trainer = Trainer(tiny_model(3), tiny_recipe(**SECTIONS))
    reports = []
    for version in range(VERSIONS):
        trainer.save(directory / str(version))
        reports.append(told(trainer.update(groups_of(version))))
    trainer.save(directory / str(VERSIONS))
    return reports


def single_updates(source: Path, results: Path) -> list[dict]:
    """Each update of that run by itself, from the weights that it started with."""
    reports = []
    for version in range(VERSIONS):
        trainer = Trainer.restore(source / str(version))
        reports.append(told(trainer.update(groups_of(version))))
        trainer.save_whole(results / str(version + 1))
    return reports


def adapter_chain() -> dict:
    """The same run, of an adapter alone; what it lies over, before and after."""
    recipe = tiny_recipe(optimiser={"micro_batch_tokens": 64}, adapter={"rank": 4})
    trainer = Trainer(tiny_model(3), recipe)
    reports = [asdict(trainer.update(groups_of(version))) for version in range(VERSIONS)]
    frozen = {name: tensor.to(torch.bfloat16) for name, tensor in trainer.frozen()}
    return {
        "reports": reports,
        "norms": [float(each.float().norm()) for each in trainer.published_state().values()],
        "base": [trainer.over.base, describe(frozen, 0, None).state],
    }


def supervised_curve() -> list[float]:
    """Loss and gradient norm of each step."""
    curve: list[float] = []
    stage = SupervisedStage(SFT, repeat_first, micro_batch_tokens=64)
    supervise(
        tiny_model(4), stage, lambda progress: curve.extend((progress.loss, progress.grad_norm))
    )
    return curve


def run_as_rank(directory: Path) -> None:
    found = {
        "chain": chain(directory / "two-chain"),
        "updates": single_updates(directory / "one", directory / "two"),
        "sft": supervised_curve(),
        "adapter": adapter_chain(),
    }
    (directory / f"rank{dist.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, world_size=2, rank=rank)
    run_as_rank(folder)
    dist.destroy_process_group()
