"""What is published: the same bytes wherever they are built, and enough to run from the wheel alone."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"[-_.]+")


def _locked() -> dict[str, str]:
    """Each package of the lock and its version."""
    lines = (ROOT / "locked.txt").read_text("utf-8").splitlines()
    pairs = (line.split(" ")[0].split("==") for line in lines if line and line[0] not in " #")
    return {NAME.sub("-", name).lower(): version for name, version in pairs}


def test_what_the_product_needs_is_locked_as_it_is_pinned() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[<>=\[; ]", line)[0] for line in declared["dependencies"]}
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    pinned = {NAME.sub("-", name).lower(): version for name, version in pinned.items()}
    locked = _locked()
    assert {NAME.sub("-", name).lower() for name in needed} <= set(locked), "make locked"
    assert {name: locked[name] for name in locked if name in pinned} == {
        name: pinned[name] for name in locked if name in pinned
    }, "make locked"


def test_every_locked_package_has_a_hash() -> None:
    text = (ROOT / "locked.txt").read_text("utf-8").replace("\\\n", " ")
    bare = [line for line in text.splitlines() if line and "--hash=sha256:" not in line]
    assert not bare
    assert "://" not in text  # no index, no place: only names, versions and hashes


def _cloned(into: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(into)], check=True, timeout=120)
    return into


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_trees_of_one_commit_give_the_same_bytes_and_the_wheel_alone_runs(
    tmp_path: Path,
) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    tools = ROOT / ".venv-dist"  # made once, by the first of the two
    first, second = _cloned(tmp_path / "a"), _cloned(tmp_path / "b")
    for each in second.rglob("*.py"):
        os.utime(each, (1_000_000_000, 1_000_000_000))
    for each, mask in ((first, 0o022), (second, 0o002)):
        subprocess.run(
            ["make", "dist", f"DIST_VENV={tools}", f"PYTHON={sys.executable}"],
            cwd=each,
            umask=mask,
            check=True,
            capture_output=True,
            timeout=600,
        )
    made = [sorted((each / "dist").iterdir()) for each in (first, second)]
    assert [path.name for path in made[0]] == [path.name for path in made[1]]
    sums = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in made]
    assert sums[0] == sums[1]
    bill = json.loads((first / "dist" / "archipel.cdx.json").read_text("utf-8"))
    assert {each["name"].lower() for each in bill["components"]} == set(_locked())
    _wheel_runs(next(path for path in made[0] if path.suffix == ".whl"), tmp_path)


def _wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has what this one has, and of the project the wheel alone."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "v"], check=True, timeout=120)
    python = tmp_path / "v" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here, there = (
        subprocess.run([each, "-c", where], capture_output=True, text=True, check=True).stdout
        for each in (sys.executable, python)
    )
    Path(there.strip(), "as_here.pth").write_text(here)
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=300)
    said = subprocess.run(
        [python, "-I", "-m", "archipel.cli.archipel", "demo", "--no-controls", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-2000:]
