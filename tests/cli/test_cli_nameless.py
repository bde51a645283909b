"""Commands of a user id that has no name and no home, as containers give: a sentence, or it works."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel import source_environment

NAMELESS = 54321
"""No entry of any usual passwd has it."""


def _environment() -> dict[str, str]:
    """With the project and the packages of this process."""
    modules = [entry for entry in sys.path if entry.endswith("site-packages")]
    own = source_environment().get("PYTHONPATH", "")
    return {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, [own, *modules]))}


def _reachable() -> str | None:
    """A Python of our version that this user id may start, and that finds the project; root's own folders hide some."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            subprocess.run(
                [python, "-c", "import archipel"],
                user=NAMELESS,
                group=NAMELESS,
                extra_groups=[],
                env=_environment(),
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return python
    return None


@pytest.fixture(scope="module")
def python() -> str:
    if sys.platform == "win32" or os.geteuid() != 0:
        pytest.skip("takes root, to become somebody else")
    found = _reachable()
    if found is None:
        pytest.skip(
            "no Python that another user may start, with this project where that user may read it"
        )
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Theirs; pytest's own folders are root's."""
    path = Path(tempfile.mkdtemp())
    os.chown(path, NAMELESS, NAMELESS)
    yield path
    shutil.rmtree(path)


def _types(python: str, folder: Path, *words: str) -> tuple[int, str]:
    ended = subprocess.run(
        [python, "-m", "archipel.cli.archipel", *words],
        user=NAMELESS,
        group=NAMELESS,
        extra_groups=[],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("words", [("lab", "start"), ("node", "join", "http://127.0.0.1:9")])
def test_without_a_home_a_nameless_user_is_told_where_to_say_one(
    python: str, folder: Path, words: tuple[str, ...]
) -> None:
    code, text = _types(python, folder, *words)
    assert code == 1
    assert text.startswith("archipel: this user has no home folder; name one in ARCHIPEL_HOME")
    assert len(text.splitlines()) == 1


def test_with_a_home_a_nameless_user_needs_nothing_else(python: str, folder: Path) -> None:
    code, text = _types(python, folder, "update", "key", "--home", str(folder / "update"))
    assert (code, text[:8]) == (0, "did:key:")
    key = folder / "update" / "node.key"
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (NAMELESS, 0o600)
