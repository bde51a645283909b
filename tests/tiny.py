"""A run so small that it is over in seconds: its recipe, its secret, and where it starts."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from archipel.records.recipe import Recipe
from archipel.training.start import start_model

NAME = "tiny"
SECRET = b"only the verifier knows"
BATCH = 4


def tiny_recipe(versions: int, staleness: int) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {
                "name": NAME,
                "versions": versions,
                "groups_per_update": BATCH,
                "group_size": 8,
                "max_staleness": staleness,
                "seed": 11,
                "anchor_every": 2,
            },
            "environment": {
                "name": "secret_order",
                "secret": "secret-order",
                "parameters": {"length": 2, "alphabet": 8},
            },
            "model": {
                "hidden_size": 32,
                "num_layers": 1,
                "num_heads": 2,
                "num_kv_heads": 2,
                "intermediate_size": 64,
                "max_position_embeddings": 32,
            },
            "sampling": {"max_new_tokens": 6},
            "supervised": {"steps": 300, "batch_size": 32, "decay_steps": 10},
            "loss": {"name": "ppo_clip"},
            "optimiser": {"learning_rate": 3e-3, "warmup_steps": 0},
            "evaluation": {"every": 100, "num_tasks": 4},
            "lease": {
                "min_deadline_s": 6.0,
                "slack": 1.0,
                "update_deadline_s": 60.0,
                "max_groups": 2,
                "price_micro": 1000,
            },
        }
    )


def write_start(folder: Path) -> Path:
    """Version 0: taught the form of an answer, so that some rollouts earn something."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in _taught().items():
        (folder / name).write_bytes(data)
    return folder


@cache
def _taught() -> dict[str, bytes]:
    """Its files by name: seconds of training, the same bytes every time, so one process does it once."""
    with TemporaryDirectory() as made:
        start_model(tiny_recipe(1, 0), Path(made))
        return {path.name: path.read_bytes() for path in Path(made).iterdir()}
