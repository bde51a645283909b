"""A process of `bench replays` that makes one honest contribution, and writes it down: what an own environment changes."""

import sys
from pathlib import Path
from typing import Any

from archipel.bench.replay_ground import Ground, Plan


def main(path: str, codec: Any, optimiser: Any, *numbers: str) -> None:
    """numbers: seed, and the plan's sizes in the order of `replays._by_a_child`."""
    seed, steps, every, batch, length, hidden, layers = map(int, numbers)
    plan = Plan(
        steps=steps, commit_every=every, batch=batch, sequence_length=length, hidden_size=hidden,
        num_layers=layers,
    )  # fmt: skip
    made = Ground(plan, seed, codec, optimiser).contribution(0)
    Path(path).with_suffix(".json").write_text(made.answer.model_dump_json())
    Path(path).write_bytes(made.payload)


if __name__ == "__main__":
    main(*sys.argv[1:])
