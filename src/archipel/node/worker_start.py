"""How a child process is started, and with which files it may be started again."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.node.ranks import NEAR, Ranks
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
    return [*ranks.torchrun(), *_own(ranks, setup)]


def near_program(ranks: Ranks, setup: Setup, folder: Path) -> list[str]:
    """The same of ranks on one host, each told besides which of how many it is, and in which file they meet.

    folder: from `meeting_in`.
    """
    mark = secrets.token_hex(8)
    met = ("${local_rank}", str(ranks.here), str(setup.scratch / f"meeting-{mark}"))
    return [*ranks.torchrun(folder / mark), *_own(ranks, setup), *met]


def _own(ranks: Ranks, setup: Setup) -> list[str]:
    return ["-m", "archipel.work.ranks", to_line(setup).decode().strip(), str(ranks.hosts)]


def meeting_in(home: Path, ranks: Ranks) -> tuple[Path | None, dict[str, str]]:
    """(where torchrun's file of ranks on one host goes: an empty folder beside what a child may write; what its environment
    needs besides).

    Raises:
        OSError: the folder cannot be made.
    """
    if not ranks.is_near:
        return None, {}
    folder = home / "meeting"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder, NEAR
