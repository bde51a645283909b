"""Every process runs the source tree of the process that started it, wherever another one lies."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import archipel

PACKAGE = Path(archipel.__file__).parent
MARKER = "import sys, archipel\nprint('marked', archipel.__file__, file=sys.stderr)\n"
START_ALL = """
import asyncio, sys
from pathlib import Path
from archipel.bench.site import Site
from archipel.cli.doors import readable_folders
from archipel.node.worker import Worker, WorkerLost
from archipel.work.messages import Setup

folder = Path(sys.argv[1])
bare = {"PATH": "/usr/bin:/bin"}
with Site(folder, bare) as site:
    site._start("lab", ["lab", "start"])
    site._processes["lab"].wait(60)
try:
    asyncio.run(Worker.start(Setup.model_construct(), bare, folder / "work.out"))
except WorkerLost:
    pass
print(*readable_folders())
"""


def _python(*arguments: object, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree whose programs do nothing but say where they lie."""
    source = tmp_path_factory.mktemp("copy") / "src"
    shutil.copytree(PACKAGE, source / "archipel")
    for program in ("cli/archipel.py", "work/child.py"):
        (source / "archipel" / program).write_text(MARKER)
    return source


@pytest.mark.slow
def test_a_site_and_a_worker_start_programs_of_the_tree_they_lie_in(
    copy: Path, tmp_path: Path
) -> None:
    readable = _python("-c", START_ALL, tmp_path, path=copy)
    marked = f"marked {copy / 'archipel' / '__init__.py'}"
    assert (tmp_path / "lab.out").read_text().strip() == marked
    assert (tmp_path / "work.out").read_text().strip() == marked
    assert readable == str(copy), "the confined child could not read its own source"


def test_an_installed_package_names_no_folder(tmp_path: Path) -> None:
    ask = "import archipel; print(archipel.source_environment())"
    for name, expected in (("site-packages", False), ("src", True)):
        place = tmp_path / name / "archipel"
        place.mkdir(parents=True)
        shutil.copy(PACKAGE / "__init__.py", place)
        said = _python("-c", ask, path=place.parent)
        path = {"PYTHONPATH": str(place.parent)} if expected else {}
        assert said == str(path | {"PYTHONHASHSEED": "0"})
