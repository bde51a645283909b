"""Whether a model directory may be written to a place: asked before the work that fills it."""

import os
from pathlib import Path


def require_free(path: Path) -> None:
    """Refuse a place where `write_model` would fail, without touching it.

    Raises:
        FileExistsError: a file is there, or a directory that is not empty.
        PermissionError, NotADirectoryError: nothing can be made there.
    """
    if path.is_symlink() and not path.exists():
        raise FileExistsError(f"{path} is a link to nothing; name a new directory")
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; name a new directory")
    if path.is_dir() and any(path.iterdir()):
        raise FileExistsError(f"{path} is not empty; name a new directory")
    above = path.absolute().parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be made: {above} is a file; name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be made: {above} is not writable; name another place")
