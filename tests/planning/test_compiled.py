"""Tables kept as JSON: whatever lies in their place, what comes out is what the files say."""

import os
from pathlib import Path

import pytest

from archipel.planning import compiled


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a folder with one table is kept."""
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "one.toml").write_text("a = 1\n")
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    monkeypatch.setattr(compiled.sys, "dont_write_bytecode", False)
    monkeypatch.setattr(compiled.sys, "pycache_prefix", None)
    assert _read() == {"one": {"a": 1}}
    (kept,) = (tmp_path / "few" / "__pycache__").glob("*.json")
    return kept


def _read() -> object:
    return compiled.folder.__wrapped__("few")


@pytest.mark.parametrize("cut", [b"", b"\0", b"[" * 100_000, b"[]", b'{"made_of": 1}', b"\xff"])
def test_a_spoilt_copy_is_made_anew(place: Path, cut: bytes) -> None:
    good = place.read_bytes()
    place.write_bytes(cut)
    assert _read() == {"one": {"a": 1}}
    assert place.read_bytes() == good
    place.write_bytes(good.replace(b'"one": {', b'"two": {'))
    assert _read() == {"one": {"a": 1}}, "the right date over other tables"


def test_what_is_no_file_is_never_waited_for(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)
    assert _read() == {"one": {"a": 1}}
    place.unlink()
    place.symlink_to("/dev/zero")
    assert _read() == {"one": {"a": 1}}
    assert place.is_file()
    assert not place.is_symlink()


def test_a_folder_that_cannot_be_written_is_done_without(place: Path) -> None:
    folder = place.parent
    place.unlink()
    folder.rmdir()
    folder.write_text("in the way")
    assert _read() == {"one": {"a": 1}}


def test_a_changed_table_is_read_again(place: Path) -> None:
    (place.parent.parent / "one.toml").write_text("a = 22\n")
    assert _read() == {"one": {"a": 22}}
