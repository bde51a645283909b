"""The snapshots that ship with the software: our own small tables, to begin with and to compare with.

Law: a shipped snapshot is never changed; a newer one is another folder.
"""

from importlib import resources
from pathlib import Path


def shipped() -> tuple[Path, ...]:
    """Folders of the shipped snapshots, oldest first."""
    root = Path(str(resources.files("archipel.observatory").joinpath("seed")))
    return tuple(sorted(each for each in root.iterdir() if each.is_dir()))
