"""A folder comes back as it was packed; what is none, or brings other files, leaves nothing behind."""

import json
from pathlib import Path

import pytest

from archipel.work.packed import BadFolder, pack_folder, unpack_folder

FILES = {"state.json": b"{}", "state.safetensors": bytes(range(256)) * 5, "empty": b""}
NAMES = frozenset(FILES)


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def packed(tmp_path: Path, name: str = "first") -> bytes:
    blob = tmp_path / f"{name}.blob"
    pack_folder(folder_of(tmp_path / name, FILES), blob)
    return blob.read_bytes()


def unpacked(tmp_path: Path, data: bytes, names: frozenset[str] = NAMES) -> dict[str, bytes]:
    blob, folder = tmp_path / "taken.blob", tmp_path / "taken"
    blob.write_bytes(data)
    unpack_folder(blob, names, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_come_back_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    first, second = packed(tmp_path), packed(tmp_path, "second")
    assert first == second
    assert unpacked(tmp_path, first) == FILES


def table(**changes: object) -> bytes:
    entry = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} | changes
    header = json.dumps({"__metadata__": {"format": "archipel.folder.v1"}, "empty": entry})
    return len(header).to_bytes(8, "little") + header.encode() + b"ab"


def test_a_table_is_taken(tmp_path: Path) -> None:
    assert unpacked(tmp_path, table()) == {"empty": b"ab"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (4).to_bytes(8, "little") + b"null",
        table(dtype="F32"),
        table(shape=[3]),
        table(shape=[-2]),
        table(data_offsets=[1, 3]),
        table() + b"c",
        table().replace(b"folder", b"folded"),
    ],
)
def test_what_is_no_packed_folder_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadFolder):
        unpacked(tmp_path, data)
    assert [each.name for each in tmp_path.iterdir()] == ["taken.blob"]


def test_other_names_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    data = packed(tmp_path)
    with pytest.raises(BadFolder, match="a file 'empty'"):
        unpacked(tmp_path, data, NAMES - {"empty"})
    assert unpacked(tmp_path, data) == FILES
    with pytest.raises(BadFolder, match="there already"):
        unpacked(tmp_path, data)


def test_a_link_is_no_file_of_a_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own", FILES)
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadFolder):
        pack_folder(folder, tmp_path / "blob")
