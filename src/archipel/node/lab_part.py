"""One lab's part of a machine that serves several: a folder, memory, disk, a door. Pure, but for a look at the disk.

Law: all parts together are at most what the operator gave; nothing of one lab's part is another's.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from archipel.node.labs_file import Labs, name_of
from archipel.node.settings import MIN_MEMORY_BYTES, NodeSettings

FOLDER = "serving"
"""In the node's home: a folder for each lab."""


@dataclass(frozen=True, slots=True)
class Part:
    """What an agent is made from: while it is the same, the agent goes on."""

    key: str | None
    """That the lab must have."""
    mirrors: tuple[str, ...]
    place: tuple[str, int] | None
    """Where other nodes fetch published versions of this lab; None: nowhere."""
    num_labs: int
    """Among whom the machine is shared out."""


def parts_of(labs: Labs, settings: NodeSettings) -> dict[str, Part]:
    """Name of a lab -> its part. Doors at a port that was given: that one for the first lab, the next for the second."""
    parts = {}
    for number, served in enumerate(labs.labs):
        place = settings.serve_blobs
        if place is not None and place[1]:
            place = place[0], place[1] + number
        mirrors = tuple(dict.fromkeys((*served.mirrors, *settings.mirrors)))
        parts[name_of(served)] = Part(served.key, mirrors, place, len(labs.labs))
    return parts


def settings_for(settings: NodeSettings, name: str, part: Part) -> NodeSettings:
    """One lab's agent: a folder of its own, and an equal share of memory, disk and what is sent to other nodes."""
    home, num_labs = settings.home / FOLDER / folder_of(name), part.num_labs
    memory = settings.memory_bound()
    return replace(
        settings,
        lab_url=name,
        home=home,
        node_home=settings.home,
        lab_key=part.key,
        mirrors=part.mirrors,
        serve_blobs=part.place,
        serve_rate=settings.serve_rate // num_labs,
        max_memory_bytes=None if memory is None else max(memory // num_labs, MIN_MEMORY_BYTES),
        lasting_bytes=settings.lasting_bytes // num_labs,
        cache_bytes=settings.cache_bytes // num_labs,
        max_scratch_bytes=settings.max_scratch_bytes // num_labs,
        disk_bytes=_part_of_disk(settings, home, num_labs),
    )


def folder_of(name: str) -> str:
    """A lab's own folder, that people know again."""
    host = re.sub(r"[^a-z0-9.-]+", "-", name.partition("://")[2].partition(",")[0])[:48]
    return f"{host.strip('-.') or 'lab'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _part_of_disk(settings: NodeSettings, home: Path, num_labs: int) -> int:
    """What one lab's fetched blobs may fill; one part more stays free for everything else."""
    free = shutil.disk_usage(settings.home).free
    own = sum(each.stat().st_size for each in (home / "blobs").rglob("*") if each.is_file())
    return min(settings.disk_bytes, free // (num_labs + 1) + own)


def change_words(before: Labs, after: Labs) -> str:
    """What a changed file changes of who is served, in words."""
    old, new = ([name_of(each) for each in labs.labs] for labs in (before, after))
    left = [f"{name} is left when its lease is done" for name in old if name not in new]
    come = [f"{name} is served, too" for name in new if name not in old]
    return "; ".join((*left, *come)) or "the same labs are served, as it says now"
