"""`python killed_run.py FOLDER WORKS`: a member's works one after another; what each moved, as a line of a file."""

import hashlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from archipel.training.inner.member import Member
from training.inner.texts import tiny_base, tiny_terms, windows_from
from training.tiny_learner import tiny_model


def run(folder: Path, num_works: int) -> None:
    """Goes on at the work after the last that has a line, which may have been kept already."""
    torch.set_num_threads(1)
    told = folder / "told"
    lines = told.read_text().splitlines() if told.exists() else []
    member = Member(tiny_model(), tiny_terms(), folder / "state")
    for number in range(len(lines), num_works):
        trained = member.train(
            tiny_base(number % 3), windows_from(number), number, 1, work=str(number)
        )
        member.keep({name: each / 4 for name, each in trained.delta.items()})
        digest = hashlib.sha256(b"".join(each.tobytes() for each in trained.delta.values()))
        with told.open("a") as file:
            file.write(digest.hexdigest() + "\n")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
