"""A training run that may be killed: `python resumable_run.py DIRECTORY VERSIONS`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from archipel.training.checkpoint import has_checkpoint
from archipel.training.trainer import Trainer
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe


def run(directory: Path, versions: int) -> None:
    torch.set_num_threads(1)
    checkpoints = directory / "checkpoints"
    if has_checkpoint(checkpoints):
        trainer = Trainer.restore(checkpoints)
    else:
        trainer = Trainer(tiny_model(3), tiny_recipe(run={"versions": versions}))
    while trainer.version < versions:
        report = trainer.update(tiny_groups(tiny_model(3), trainer.version))
        with (directory / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(asdict(report)) + "\n")
        trainer.save(checkpoints)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
