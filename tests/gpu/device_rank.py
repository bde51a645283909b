"""`python device_rank.py DEED FOLDER DEVICE RANK WORLD HOSTS [SOURCE]`: one rank of a site on a device; WORLD 0 is a process alone.

Ranks meet as the program's own do on one host: by a new file, over what `join_site` chooses for the device. Each writes
`FOLDER/rankN.json` when it is done.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from archipel.model.devices import about, ready_device
from archipel.records.recipe import Recipe
from archipel.training.sharding import join_site, own_device
from archipel.training.trainer import Trainer
from training import ranks_run
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe

WIDE = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 1536,
}
"""42 million weights, most of them in layers: what a rank holds of them outweighs what it computes with."""


@dataclass(frozen=True)
class Here:
    """Where a deed is done."""

    folder: Path
    device: torch.device
    source: Path | None


def learn(here: Here) -> object:
    """Every run from its start to its end, from its own checkpoint, and from another site's."""
    ranks_run.deeds(here.folder, here.source, here.device)
    return "done"


def stop(here: Here) -> object:
    """Every run until it is kept; then one update after the other of the last, until somebody kills us."""
    for name, sections in ranks_run.RUNS.items():
        trainer = ranks_run.run_until_kept(here.folder / name, sections, here.device)
    _say(here.folder, "kept")
    while True:
        trainer.update(ranks_run.groups_of(trainer.version))


def go_on(here: Here) -> object:
    """Every run from what another site kept."""
    assert here.source is not None
    for name in ranks_run.RUNS:
        ranks_run.go_on(here.source / name, here.folder / name, here.device)
    return "done"


def weigh(here: Here) -> object:
    """Two updates of a network that is all weights: bytes of the device that are held between updates, and at most."""
    trainer = Trainer(_wide().to(here.device), _wide_recipe())
    _forget_peak(here.device)
    for _ in range(2):
        trainer.update(tiny_groups(tiny_model(9), trainer.version, num_groups=2))
    if here.device.type != "cuda":
        return {"held": 0, "peak": 0}
    held, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    return {"held": held, "peak": peak, "about": about(here.device)}


def _wide() -> torch.nn.Module:
    return tiny_model(3, scale=1.0, **WIDE)


def _wide_recipe() -> Recipe:
    return tiny_recipe(optimiser={"micro_batch_tokens": 64})


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


DEEDS: dict[str, Callable[[Here], object]] = {
    each.__name__: each for each in (learn, stop, go_on, weigh)
}


def _say(folder: Path, what: object) -> None:
    rank = dist.get_rank() if dist.is_initialized() else 0
    (folder / f"rank{rank}.json").write_text(json.dumps(what))


def _main(deed: str, folder: Path, device: str, site: tuple[int, int, int], source: Path | None):
    torch.set_num_threads(1)
    rank, world, hosts = site
    name = device
    if world:
        name = own_device(device)
        join_site(hosts, (rank, world, str(folder / "meeting")))
    _say(folder, DEEDS[deed](Here(folder, ready_device(name), source)))
    if world:
        dist.destroy_process_group()


if __name__ == "__main__":
    deed, folder, device, rank, world, hosts, *rest = sys.argv[1:]
    site = int(rank), int(world), int(hosts)
    _main(deed, Path(folder), device, site, Path(rest[0]) if rest else None)
