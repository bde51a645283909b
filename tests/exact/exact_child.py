"""What a process of its own, with some instructions taken from it, samples and replays: one digest a world.

Run as a program: `python exact_child.py FOLDER WORLDS`, worlds as `family-variant`; weights lie in
`FOLDER/family.safetensors`. Prints `world digest` lines.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))


def main(folder: Path, worlds: list[str]) -> None:
    import torch
    from safetensors.torch import load_file

    from exact.exact_models import (
        digest_of,
        exact_engine,
        mixed_requests,
        replayer,
        sampled,
        world_config,
    )

    torch.set_num_threads(1)
    for name in worlds:
        family, variant = name.split("-")
        config = world_config(family)  # type: ignore[arg-type]
        state = load_file(folder / f"{family}.safetensors")
        requests = mixed_requests(config.vocab_size, (1, 8, 30, 127, 250))
        recorded = sampled(exact_engine(config, state, variant), requests)
        equal = replayer(config, state, variant, compact=True).replay(recorded).difference is None
        digest = digest_of([list(each.rollouts.values()) for each in recorded])
        print(name, digest if equal else "replay differs", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
