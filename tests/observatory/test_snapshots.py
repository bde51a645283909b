"""Snapshots: read as they were written, refused where they are not, never written over."""

import json
from pathlib import Path

import pytest

from archipel.observatory import folder, manifest
from archipel.observatory.folder import MAX_TABLE_BYTES, parse_rows, read, write
from archipel.observatory.manifest import InvalidSnapshot, parse_manifest
from archipel.observatory.rows import ModelRow
from archipel.observatory.seeds import shipped
from archipel.observatory.snapshot import MAX_LINE_BYTES, make
from archipel.records.canonical import canonical_json
from observed import ABOUT, count, maker, model, score, snapshot

SOME = (maker("a"), maker("b", "CN"), model("m"), model("n", ("a", "b")), count("m", 5))


def test_a_snapshot_is_read_as_it_was_written_in_whatever_order_its_rows_came(
    tmp_path: Path,
) -> None:
    made = snapshot(*SOME)
    write(made, tmp_path / "one")
    assert read(tmp_path / "one") == made == snapshot(*reversed(SOME))
    assert read(tmp_path / "one").digest == made.digest
    write(snapshot(*reversed(SOME)), tmp_path / "two")
    for each in (tmp_path / "one").iterdir():
        assert each.read_bytes() == (tmp_path / "two" / each.name).read_bytes()


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    write(snapshot(*SOME), tmp_path / "one")
    before = {each.name: each.read_bytes() for each in (tmp_path / "one").iterdir()}
    for place in ("one", "empty", "file"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "file").touch()
        with pytest.raises(InvalidSnapshot, match="never written over"):
            write(snapshot(maker("a")), tmp_path / place)
    assert {each.name: each.read_bytes() for each in (tmp_path / "one").iterdir()} == before
    assert {each.name for each in tmp_path.iterdir()} == {"one", "empty", "file"}


def test_what_was_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write(snapshot(*SOME), tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["models.jsonl", "counts.jsonl", "snapshot.json"])
def test_every_changed_or_missing_byte_is_noticed(tmp_path: Path, name: str) -> None:
    write(snapshot(*SOME), tmp_path / "one")
    path = tmp_path / "one" / name
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            changed = read(tmp_path / "one").digest
        except InvalidSnapshot:
            continue
        assert name == "snapshot.json", at
        assert changed != snapshot(*SOME).digest, at
    path.write_bytes(whole[:-1])
    with pytest.raises(InvalidSnapshot):
        read(tmp_path / "one")
    path.unlink()
    with pytest.raises(InvalidSnapshot, match=r"missing|has no snapshot\.json"):
        read(tmp_path / "one")


def test_rows_fit_each_other_or_it_says_which_does_not() -> None:
    with pytest.raises(InvalidSnapshot, match="'a' has no row of its own"):
        snapshot(model("m"))
    with pytest.raises(InvalidSnapshot, match="'m' has no row of its own"):
        snapshot(count("m", 1))
    with pytest.raises(InvalidSnapshot, match="two rows have the id 'm'"):
        snapshot(maker("a"), model("m"), model("m", access="closed"))
    strange = model("m").model_copy(update={"source": "elsewhere"})
    with pytest.raises(InvalidSnapshot, match="no source 'elsewhere'"):
        snapshot(maker("a"), strange)
    with pytest.raises(InvalidSnapshot, match="no table is called 'modles'"):
        make(ABOUT, {"modles": [model("m")]})


def _line(**changed: object) -> bytes:
    return canonical_json(model("m").model_dump(mode="json") | changed) + b"\n"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"released": "2025-02-30"}, "no day of the calendar"),
        ({"released": "30.1.2025"}, "released"),
        ({"params": 0}, "params"),
        ({"params": "7B"}, "params"),
        ({"name": "a\u202eb"}, "U\\+202E"),
        ({"name": "a\x00b"}, "U\\+0000"),
        ({"name": ""}, "name"),
        ({"id": "m\n"}, "id"),
        ({"stars": 5}, "stars"),
        ({"access": "free"}, "access"),
        ({"name": "x" * MAX_LINE_BYTES}, "bytes; at most"),
    ],
)
def test_a_row_says_what_its_type_allows_or_is_refused_with_its_line(
    changed: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidSnapshot, match=f"models.jsonl, line 1.*{said}"):
        parse_rows("models", _line(**changed), 1)


def test_lines_ascend_are_whole_and_as_many_as_were_said() -> None:
    one, two = _line(), _line(id="n")
    assert [row.id for row in parse_rows("models", one + two, 2)] == ["m", "n"]
    for data, number in ((two + one, 2), (one + one, 2)):
        with pytest.raises(InvalidSnapshot, match="ids ascend, each once"):
            parse_rows("models", data, number)
    for data, number in ((one, 2), (one[:-1], 1), (b"", 1), (one + b"\n", 1)):
        with pytest.raises(InvalidSnapshot, match=r"whole lines|not JSON"):
            parse_rows("models", data, number)


def test_a_manifest_is_closed_and_names_only_files_of_its_own(tmp_path: Path) -> None:
    said = json.loads(snapshot(*SOME).manifest.to_bytes())
    outside = said | {"tables": {"models": said["tables"]["models"] | {"file": "../models.jsonl"}}}
    for changed in (
        outside,
        said | {"form": 2},
        said | {"more": 1},
        said | {"tables": {"x": said["tables"]["models"]}},
    ):
        with pytest.raises(InvalidSnapshot):
            parse_manifest(canonical_json(changed))
    with pytest.raises(InvalidSnapshot, match="canonical"):
        parse_manifest(json.dumps(said).encode())


def test_reading_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(snapshot(*SOME), tmp_path / "one")
    with (tmp_path / "one" / "models.jsonl").open("r+b") as file:
        file.truncate(MAX_TABLE_BYTES + 1)
    with pytest.raises(InvalidSnapshot, match="at most"):
        read(tmp_path / "one")
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 10)
    monkeypatch.setattr(folder, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(InvalidSnapshot, match="larger than 10 bytes"):
        read(tmp_path / "one")


def test_what_ships_reads_whole_and_every_fact_has_a_source_and_a_place() -> None:
    for each in shipped():
        found = read(each)
        assert found.manifest.day == each.name
        for rows in found.tables.values():
            assert all(row.row and row.source in found.sources for row in rows)
        assert all(source.url.startswith("https://") for source in found.manifest.sources)
        assert {row.source for rows in found.tables.values() for row in rows} == set(found.sources)


def test_an_unknown_field_is_a_word_and_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="params"):
        ModelRow.model_validate(model("m").model_dump() | {"params": None})
    assert score("m", 0.5).by == "unknown"
