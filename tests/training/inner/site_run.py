"""`python site_run.py FOLDER RANK`, as torchrun would start it: one member's works, by one process or by two."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[2]))

from archipel.training.inner.member import Member
from training.inner.texts import tiny_base, tiny_terms, windows_from
from training.tiny_learner import tiny_model

STEPS = 3
WAYS = {
    "adamw": {},
    "muon": {"optimiser": "muon"},
    "a window at a time": {"micro_batch_tokens": 1},
    "fewer windows than ranks": {"batch": 1, "sequence_length": 6},
}


def works(folder: Path, way: str) -> dict[str, np.ndarray]:
    """Pseudo-gradients and losses of two works, the second with what the first left in the folder."""
    terms, found = tiny_terms(**WAYS[way]), {}
    for number in range(2):
        member = Member(tiny_model(), terms, folder / way)
        windows = ((t[: terms.batch], d[: terms.batch]) for t, d in windows_from(STEPS * number))
        trained = member.train(
            tiny_base(number), windows, STEPS * number, STEPS, STEPS, str(number)
        )
        member.keep(trained.delta)
        found |= {f"{number}.{name}": each for name, each in trained.delta.items()}
        found[f"{number}.losses"] = np.array(trained.losses)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", world_size=2, rank=rank
    )
    for way in WAYS:
        np.savez(folder / f"{way}.{rank}.npz", **works(folder / "two", way))
    dist.destroy_process_group()
