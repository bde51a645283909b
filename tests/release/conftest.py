"""One release that all tests of this room look at; whoever changes it puts it back."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from releases import made
from releasing import lab_home
from tiny import SECRET


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a lab's home `lab`, a release `bundle`, and the keys of whoever made it."""
    folder = tmp_path_factory.mktemp("site")
    patch = pytest.MonkeyPatch()
    patch.setenv("ARCHIPEL_HOME", str(folder / "own"))
    lab_home(folder / "lab")
    (folder / "secret").write_bytes(SECRET)
    (folder / "release.toml").write_text('[licences]\ndefault = "CC-BY-4.0"\n')
    made(folder, "bundle")
    yield folder
    patch.undo()


@pytest.fixture
def bundle(site: Path, tmp_path: Path) -> Path:
    """One's own, to spoil."""
    return Path(shutil.copytree(site / "bundle", tmp_path / "bundle"))
