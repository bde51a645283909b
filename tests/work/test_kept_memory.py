"""What a trusted role keeps between its works: damage is named, and never published or learned from."""

from pathlib import Path

import pytest

from archipel.work.kind import WorkFailed
from archipel.work.memory import REMEMBERED, same_secret
from archipel.work.outbox import ANSWER_FILE, Outbox


@pytest.fixture
def made(tmp_path: Path) -> Outbox:
    """An outbox that holds version 3: two files of its own, and a checkpoint beside it."""
    box = Outbox(tmp_path)
    files = box.begin(3)
    (files / "delta").write_bytes(b"delta")
    (files / "manifest").write_bytes(b"manifest")
    (tmp_path / "000000003.safetensors").write_bytes(b"memory")
    box.finish(
        3,
        {"policy": "p", "metrics": {"tokens": 7}},
        {"memory": tmp_path / "000000003.safetensors"},
        ("q", "r"),
    )
    assert box.about(3) == {"policy": "p", "parent": "q", "inputs": "r"}
    assert box.about(4) == {}
    return box


def test_an_answer_is_given_again_as_it_was(made: Outbox) -> None:
    answer = made.answer(3)
    assert answer.values == {"policy": "p", "metrics": {"tokens": 7}}
    assert {role: path.read_bytes() for role, path in answer.files.items()} == {
        "delta": b"delta", "manifest": b"manifest", "memory": b"memory",
    }  # fmt: skip


@pytest.mark.parametrize("file", ["outbox-3/files/delta", f"outbox-3/{ANSWER_FILE}"])
def test_a_flipped_bit_in_what_was_made_is_never_published(
    made: Outbox, tmp_path: Path, file: str
) -> None:
    place = tmp_path / file
    data = place.read_bytes()
    refused = []
    for at in range(len(data)):
        place.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert made.answer(3).values == {"policy": "p", "metrics": {"tokens": 7}}
        except WorkFailed as error:
            refused.append(str(error))
    assert all("is damaged" in said and "move the folder" in said for said in refused)
    assert len(refused) > len(data) // 2
    assert file.endswith(ANSWER_FILE) or len(refused) == len(data), "only blanks say nothing"
    (tmp_path / "outbox-3" / ANSWER_FILE).unlink()
    with pytest.raises(WorkFailed, match="gone from"):
        made.answer(3)


def test_a_secret_that_changed_under_a_run_is_noticed(tmp_path: Path) -> None:
    same_secret(tmp_path, b"secret")
    same_secret(tmp_path, b"secret")
    for other in (b"secreu", None):
        with pytest.raises(WorkFailed, match="put the old one back"):
            same_secret(tmp_path, other)
    assert b"secret" not in (tmp_path / REMEMBERED).read_bytes().replace(b"the secret", b"")
    (tmp_path / REMEMBERED).write_bytes(b"{")
    with pytest.raises(WorkFailed, match="is damaged"):
        same_secret(tmp_path, b"secret")
    (tmp_path / REMEMBERED).unlink()
    same_secret(tmp_path, None)
