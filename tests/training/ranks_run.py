"""`python ranks_run.py DIRECTORY RANK WORLD HOSTS DEED`, as torchrun would start it: one deed of a site's ranks."""

import json
import random
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from archipel.model.devices import CPU
from archipel.records.rollouts import Rollout
from archipel.training import sharding
from archipel.training.batch import Group
from archipel.training.trainer import Trainer
from training.tiny_learner import (
    VOCAB,
    alone_logprobs,
    rounded_copy,
    tiny_groups,
    tiny_model,
    tiny_recipe,
)

VERSIONS = 2
SECTIONS = {
    "optimiser": {"micro_batch_tokens": 64, "clip_norm": 1e9},
    "reference": {"coefficient": 0.2, "version": 1},
}
EIGHT = {"memory": {"moments": "8bit"}}
ADAPTER = {"optimiser": {"micro_batch_tokens": 64}, "adapter": {"rank": 4}}


def groups_of(version: int, num_groups: int = 2):
    return tiny_groups(tiny_model(9), version, num_groups=num_groups)


def base():
    return tiny_model(3)


def learn(trainer: Trainer, until: int) -> None:
    while trainer.version < until:
        trainer.update(groups_of(trainer.version))


def run_until_kept(folder: Path, sections, device: torch.device = CPU) -> Trainer:
    """A run from its start, saved before its last update."""
    trainer = Trainer(base().to(device), tiny_recipe(**sections))
    learn(trainer, VERSIONS - 1)
    trainer.save(folder / "kept")
    return trainer


def run(folder: Path, sections, device: torch.device = CPU) -> None:
    """The same, and at its end in one file."""
    trainer = run_until_kept(folder, sections, device)
    learn(trainer, VERSIONS)
    trainer.save_whole(folder / "whole")


def go_on(folder: Path, out: Path, device: torch.device = CPU) -> None:
    """The last update again, from what was kept."""
    trainer = Trainer.restore(folder / "kept", base, device)
    assert trainer.version == VERSIONS - 1
    learn(trainer, VERSIONS)
    trainer.save_whole(out / "whole")


def first_step(folder: Path, rows: int, device: torch.device = CPU) -> None:
    """One update of so many rows, of which one process takes one at a time and several take one each."""
    sections = {"optimiser": {"micro_batch_tokens": 64, "clip_norm": 1e9}}
    trainer = Trainer(base().to(device), tiny_recipe(**sections))
    trainer.update(wide_groups(rows))
    trainer.save_whole(folder / "whole")


def wide_groups(count: int) -> list[Group]:
    """Each a row of 55 tokens: 6 of the prompt, and 7 answers of 8 tokens whose last is no input."""
    rng, groups = random.Random(5), []
    policy = rounded_copy(base())
    for index in range(count):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(6))
        answers = [tuple(rng.randrange(VOCAB) for _ in range(8)) for _ in range(7)]
        with torch.no_grad():
            told = [tuple(alone_logprobs(policy, prompt, each).tolist()) for each in answers]
        rollouts = tuple(Rollout(*each, True) for each in zip(answers, told, strict=True))
        groups.append(Group(index, prompt, rollouts, tuple(rng.random() for _ in answers), 0))
    return groups


RUNS = {"run": SECTIONS, "eight": SECTIONS | EIGHT, "adapter": ADAPTER}
"""What is learned: name -> sections of its recipe."""


def deeds(folder: Path, source: Path | None, device: torch.device = CPU) -> None:
    """source: of another number of ranks, to go on from as well."""
    for name, sections in RUNS.items():
        run(folder / name, sections, device)
        if source is not None:
            go_on(source / name, folder / f"{name}-after", device)
        go_on(folder / name, folder / f"{name}-again", device)
    for rows in (1, 2):
        first_step(folder / f"step-{rows}", rows, device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, rank, world, hosts = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    source = Path(sys.argv[5]) if len(sys.argv) > 5 else None
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group(
        "gloo", init_method=meeting, world_size=world, rank=rank, timeout=timedelta(seconds=200)
    )
    sharding._Joined.hosts = hosts
    deeds(folder, source)
    (folder / f"rank{rank}.json").write_text(json.dumps("done"))
    dist.destroy_process_group()
