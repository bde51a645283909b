"""How a child process is started, and with which files it may be started again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.node.ranks import Ranks
from archipel.work.messages import Setup, to_line


@dataclass(frozen=True, slots=True)
class Start:
    """How a child was started."""

    setup: Setup
    environment: Mapping[str, str]
    log: Path
    ranks: Ranks


def not_covered(setup: Setup, paths: Sequence[str]) -> list[Path]:
    """Those that are there and that the child may not read; from the folder that it works in as well."""
    readable = [folder.resolve() for folder in setup.readable]
    there = [path for path in map(Path.resolve, map(Path, paths)) if path.exists()]
    return [path for path in there if not any(map(path.is_relative_to, readable))]


def program(ranks: Ranks, setup: Setup) -> list[str]:
    """Arguments to Python; several ranks are torchrun's business, and each is told what confines it, and how many
    hosts there are.
    """
    if ranks.is_alone:
        return ["-m", "archipel.work.child"]
    said = to_line(setup).decode().strip()
    return [*ranks.torchrun(), "-m", "archipel.work.ranks", said, str(ranks.hosts)]
