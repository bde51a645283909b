"""Recipes that this machine's operator approved: a trusted role does no run with another.

A recipe names files that the trusted role reads, so whoever opens a run would else choose them. One small
file per recipe, HOME/recipes/<digest>, readable by its owner alone.
"""

import os
from pathlib import Path

FOLDER = "recipes"


def approve(home: Path, digest: str) -> Path:
    """Let the trusted role that lives in `home` do runs of the recipe with this digest.

    Raises:
        OSError: the folder cannot be written.
    """
    path = _path(home, digest)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.close(descriptor)
    return path


def is_approved(home: Path, digest: str) -> bool:
    """Whether the operator approved it, with a file that nobody else can write."""
    try:
        found = _path(home, digest).lstat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and not found.st_mode & 0o077


def _path(home: Path, digest: str) -> Path:
    return home / FOLDER / digest.removeprefix("sha256:")
