"""A checkpoint in parts is whole or refused, and what was saved comes back to the bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException

from archipel.training import checkpoint_by_ranks as by_ranks
from archipel.training.checkpoint import (
    BadCheckpoint,
    DamagedCheckpoint,
    NoCheckpoint,
    read_latest,
    write_checkpoint,
)
from archipel.training.checkpoint_by_ranks import write_parted
from archipel.training.checkpoint_parts import (
    ASIDE,
    INDEX,
    CheckpointInParts,
    latest_parted,
    parted_folder,
    parted_numbers,
    read_parted,
)
from archipel.training.gathered import write_gathered
from archipel.training.resuming import newest, newest_number
from archipel.training.sharding import Site

ALONE = Site()
FACTS = {"version": 3, "notes": {"a": [1, "b"]}}


def tensors() -> dict[str, torch.Tensor]:
    return {
        "master.a": torch.arange(6.0).reshape(2, 3) / 7,
        "codes.a": torch.arange(5, dtype=torch.uint8),
        "reference.a": torch.full((4,), 0.1).bfloat16(),
    }


def places() -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(each) for name, each in tensors().items()}


def part_of(folder: Path, number: int = 3) -> Path:
    return parted_folder(folder, number) / "part-00000.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parted(tmp_path, 3, tensors(), FACTS, ALONE)
    return tmp_path


def test_what_was_saved_in_parts_comes_back_to_the_bit(folder: Path) -> None:
    saved = read_parted(folder, 3, ALONE)
    assert (saved.number, saved.facts) == (3, FACTS)
    forms = {name: (each.shape, each.dtype) for name, each in saved.forms().items()}
    assert forms == {name: (each.shape, each.dtype) for name, each in tensors().items()}
    found = places()
    saved.read_into(found)
    assert all(torch.equal(each, tensors()[name]) for name, each in found.items())


@pytest.mark.parametrize(
    "wrong",
    [{"master.a": torch.zeros(2, 4)}, {"master.b": torch.zeros(2, 3)}],
    ids=["of another shape", "of another name"],
)
def test_what_was_not_saved_is_not_read(folder: Path, wrong: dict[str, torch.Tensor]) -> None:
    with pytest.raises(BadCheckpoint):
        read_parted(folder, 3, ALONE).read_into(wrong)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink], ids=["flipped", "cut", "gone"])
@pytest.mark.parametrize("what", ["part-00000.safetensors", "index.json"])
def test_damage_is_found_and_the_checkpoint_before_is_taken(folder: Path, damage, what) -> None:
    write_parted(folder, 4, tensors(), FACTS, ALONE)
    damage(parted_folder(folder, 4) / what)
    found = newest(folder, ALONE)
    assert found.number == 3
    assert parted_numbers(folder) == [3], "what is damaged is set aside"


def test_nothing_but_damage_is_said_to_be_none(folder: Path) -> None:
    _flip(part_of(folder))
    with pytest.raises(NoCheckpoint, match="is not what was written"):
        newest(folder, ALONE)


def test_an_index_that_names_a_file_elsewhere_is_refused(folder: Path) -> None:
    index = parted_folder(folder, 3) / "index.json"
    index.write_text(index.read_text().replace("part-00000.safetensors", "../../etc/passwd"))
    with pytest.raises(DamagedCheckpoint):
        read_parted(folder, 3, ALONE)


def test_tensors_whose_slices_are_not_all_there_are_refused(folder: Path) -> None:
    """The library would leave what nobody saved as it was."""
    write_parted(folder, 4, {"a": torch.arange(8.0)}, {}, ALONE)
    head, body = _split(part_of(folder, 4))
    head["a"] |= {"shape": [4], "data_offsets": [0, 16]}
    head["__metadata__"]["DCP_SHARDING_INFO"] = json.dumps({"a": {"saved_offsets": [4]}})
    text = json.dumps(head).encode()
    part_of(folder, 4).write_bytes(len(text).to_bytes(8, "little") + text + body[:16])
    with pytest.raises(DamagedCheckpoint):
        read_parted(folder, 4, ALONE)  # its digest already says so
    write_parted(folder, 5, {"a": torch.arange(8.0)}, {}, ALONE)
    part_of(folder, 5).write_bytes(len(text).to_bytes(8, "little") + text + body[:16])
    with pytest.raises(DamagedCheckpoint, match="4 of 8 numbers of a"):
        CheckpointInParts(5, {}, parted_folder(folder, 5)).forms()


def _split(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_the_newest_two_stay_and_what_was_cut_short_goes(folder: Path) -> None:
    (folder / ".000000009.parts.aside").mkdir()
    for number in (4, 5):
        write_parted(folder, number, tensors(), FACTS, ALONE)
    assert parted_numbers(folder) == [4, 5]
    assert list(folder.glob(".*")) == []


def test_a_checkpoint_in_parts_goes_before_one_in_a_file_that_is_no_newer(folder: Path) -> None:
    write_checkpoint(folder, 3, tensors(), FACTS)
    assert newest_number(folder) == latest_parted(folder) == 3
    assert newest(folder, ALONE).facts == FACTS
    write_checkpoint(folder, 4, tensors(), {"later": True})
    assert newest_number(folder) == 4
    assert newest(folder, ALONE).facts == {"later": True}


def test_a_gathered_file_reads_as_one_that_a_single_process_wrote(tmp_path: Path) -> None:
    write_gathered(tmp_path / "gathered", 3, tensors(), FACTS, ALONE)
    write_checkpoint(tmp_path / "alone", 3, tensors(), FACTS)
    found, expected = (read_latest(tmp_path / each) for each in ("gathered", "alone"))
    assert (found.number, found.facts) == (expected.number, expected.facts)
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[n], expected.tensors[n]) for n in found.tensors)


def test_a_full_disk_leaves_earlier_checkpoints_alone(folder: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archipel.training.checkpoint_by_ranks.flush", full)
    with pytest.raises(OSError, match="No space left"):
        write_parted(folder, 4, tensors(), FACTS, ALONE)
    monkeypatch.undo()
    assert newest(folder, ALONE).number == 3


def test_what_an_earlier_attempt_left_and_what_has_the_name_already_are_in_nobody_s_way(
    folder: Path,
) -> None:
    for number in (3, 4):
        (folder / f".{parted_folder(folder, number).name}{ASIDE}" / "rank-0").mkdir(parents=True)
        write_parted(folder, number, tensors(), {"again": number}, ALONE)
        assert read_parted(folder, number, ALONE).facts == {"again": number}


def test_a_rank_that_holds_nothing_writes_no_part_and_is_named_in_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bytes] = []

    def two_ranks(told: bytes, site: Site) -> list[bytes]:
        said.append(told)
        return [told, bytes(len(told))]

    monkeypatch.setattr(by_ranks, "all_ranks_say", two_ranks)
    write_parted(folder, 4, tensors(), FACTS, ALONE)
    assert read_parted(folder, 4, ALONE).facts == FACTS
    finished: list[list[object]] = []
    monkeypatch.setattr(by_ranks, "_finish", lambda *told: finished.append(told[2]["parts"]))
    write_parted(folder, 5, {}, FACTS, ALONE)
    assert (said[1], finished) == (bytes(len(said[0])), [[]])


def _no_folder(folder: Path, _: pytest.MonkeyPatch) -> Path:
    place = folder / "file"
    place.touch()
    return place


def _no_digest(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setattr(by_ranks, "file_digest", _full)
    return folder


def _no_bytes(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    def refused(*_: object, **__: object) -> None:
        raise CheckpointException("write", {0: (OSError(28, "No space left on device"), None)})

    patch.setattr("torch.distributed.checkpoint.state_dict_saver.save", refused)
    return folder


def _full(*_: object) -> str:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("lack", [_no_folder, _no_digest, _no_bytes])
def test_a_rank_that_cannot_write_says_so_to_all_and_nothing_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lack: Callable[[Path, pytest.MonkeyPatch], Path]
) -> None:
    place = lack(folder, monkeypatch)
    monkeypatch.setattr(by_ranks, "_finish", pytest.fail)
    with (
        pytest.warns(UserWarning, match="rank 0 cannot write its part"),
        pytest.raises(OSError, match="rank 0 could not write its part"),
    ):
        write_parted(place, 4, tensors(), FACTS, ALONE)
    assert parted_numbers(folder) == [3]


def test_that_the_first_rank_cannot_finish_is_known_to_all_and_the_others_say_whose_log_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def most(number: torch.Tensor, site: Site) -> torch.Tensor:
        heard.append(int(number))
        return torch.tensor([1])

    monkeypatch.setattr(by_ranks, "max_over_ranks", most)
    with pytest.raises(OSError, match="the first rank could not finish"):
        write_parted(folder, 4, tensors(), FACTS, ALONE)
    monkeypatch.setattr(by_ranks, "flush", _full)
    with pytest.raises(OSError, match="No space left"):
        write_parted(folder, 5, tensors(), FACTS, ALONE)
    assert heard == [0, 1]


def test_a_checkpoint_is_on_disk_before_it_has_its_name_and_its_name_is_before_older_ones_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parted(folder, 4, tensors(), FACTS, ALONE)
    flushed: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(
        by_ranks, "flush", lambda path: flushed.append((path.name, parted_numbers(folder)))
    )
    write_parted(folder, 5, tensors(), FACTS, ALONE)
    aside = f".{parted_folder(folder, 5).name}{ASIDE}"
    assert flushed == [(INDEX, [3, 4]), (aside, [3, 4]), (folder.name, [3, 4, 5])]
