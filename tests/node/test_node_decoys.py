"""A decoy's answers are wrong where its secret says so, by one bit in every rollout, and right everywhere else."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.node.answer_files import BadAnswer
from archipel.node.decoys import FILE, FORMS, Decoy, at_work, forget, keep, kept, planted
from archipel.node.small_files import Unreadable, write_json
from archipel.records.payload import read_payload
from archipel.records.plants import commitment, is_planted
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.work.messages import Done
from people import identity
from specimens import SMALL

GRANT = SMALL["lease.granted (rollout)"]
SECRET = "5a" * 32
GROUPS = [
    [Rollout((3, 4, 5, 2), (-0.5, -1.25, 0.0, -3.0), True), Rollout((7,), (-0.125,), False)],
    [Rollout((5, 6, 7, 8), (-0.1, -0.2, -0.3, -0.4), False), Rollout((9, 2), (-2.0, -1e-7), True)],
]
DATA = pack_rollouts(GROUPS, work="run.1", policy="sha256:" + "0" * 64)


def given(folder: Path, decoy: Decoy | None, data: bytes = DATA) -> bytes:
    path = folder / "rollouts"
    path.write_bytes(data)
    done = planted(decoy, GRANT, Done(files={"rollouts": path}, values={}), (folder,))  # type: ignore[arg-type]  # a grant
    return Path(done.files["rollouts"]).read_bytes()


def test_a_planted_answer_is_wrong_by_one_bit_of_one_log_probability_in_every_rollout(
    tmp_path: Path,
) -> None:
    right = read_payload(DATA, FORMS[0])
    wrong = read_payload(given(tmp_path, Decoy("run", SECRET, 1000)), FORMS[0])
    assert wrong.metadata == right.metadata
    for name in ("tokens", "lengths", "finished"):
        assert wrong.tensors[name] == right.tensors[name]
    start = 0
    for length in right.tensors["lengths"]:
        pairs = zip(right.tensors["logprobs"], wrong.tensors["logprobs"], strict=True)
        bits = [
            int.from_bytes(struct.pack("<f", a)) ^ int.from_bytes(struct.pack("<f", b))
            for a, b in list(pairs)[start : start + length]
        ]
        assert sorted(bits) == [0] * (length - 1) + [1 << 24]
        start += length


@pytest.mark.parametrize(
    "decoy", [None, Decoy("run", SECRET, 0), Decoy("another", SECRET, 1000)], ids=str
)
def test_any_other_answer_is_as_it_was_sampled(tmp_path: Path, decoy: Decoy | None) -> None:
    assert given(tmp_path, decoy) == DATA


def test_an_answer_of_an_episode_is_wrong_only_where_the_model_sampled(tmp_path: Path) -> None:
    masked = [[Rollout((3, 4, 5, 2), (0.0, -1.25, 0.0, 0.0), True, bytes([0, 1, 0, 0]))]]
    data = pack_rollouts(masked, work="run.1", policy="sha256:" + "0" * 64)
    wrong = read_payload(given(tmp_path, Decoy("run", SECRET, 1000), data), FORMS[1])
    assert [a == b for a, b in zip(wrong.tensors["logprobs"], (0.0, -1.25, 0.0, 0.0), strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_what_should_be_wrong_and_cannot_be_does_not_go_out_right(tmp_path: Path) -> None:
    nothing = [[Rollout((3,), (0.0,), True, bytes([0]))]]
    data = pack_rollouts(nothing, work="run.1", policy="sha256:" + "0" * 64)
    for spoiled in (data, b"no payload", DATA[:-1]):
        with pytest.raises(BadAnswer, match="is to be planted"):
            given(tmp_path, Decoy("run", SECRET, 1000), spoiled)


def test_a_decoy_lies_in_its_home_for_its_owner_alone_until_it_is_revealed(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    made = Decoy.fresh("run", 200)
    keep(tmp_path, made)
    assert kept(tmp_path) == made
    with pytest.raises(Unreadable, match="has not confirmed; finish it first"):
        at_work(tmp_path)
    keep(tmp_path, replace(made, is_committed=True))
    assert at_work(tmp_path) == kept(tmp_path) == replace(made, is_committed=True)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError, match="reveal that decoy first"):
        keep(tmp_path, Decoy.fresh("run", 200))
    forget(tmp_path)
    assert kept(tmp_path) is None
    write_json(tmp_path / FILE, {"run": "run", "secret": SECRET, "share_milli": 1})
    assert at_work(tmp_path) == Decoy("run", SECRET, 1), (
        "one of before, which was kept once committed to"
    )
    for fields in ({"run": "run"}, {"run": "run", "secret": "no", "share_milli": 1}):
        write_json(tmp_path / FILE, fields)
        with pytest.raises(Unreadable, match="says no decoy"):
            kept(tmp_path)


def test_a_commitment_is_to_run_key_secret_and_share_and_shows_none_of_them() -> None:
    did, other = identity("decoy").did, identity("other").did
    made = commitment("run", did, SECRET, 200)
    others = {
        commitment("nur", did, SECRET, 200),
        commitment("run", other, SECRET, 200),
        commitment("run", did, "5b" * 32, 200),
        commitment("run", did, SECRET, 201),
    }
    assert len(others | {made}) == 5
    # clause 8.1 of docs/reference/audits.md
    assert commitment("run", "did", SECRET, 200) == (
        "sha256:5b888f826cc96c021f805d098d26bf103199c18b18e4c4c92aa40001c5b3c2c8"
    )


def test_so_many_answers_are_planted_as_the_share_says() -> None:
    works = [f"run.{n}" for n in range(2000)]
    hits = [sum(is_planted(SECRET, work, share) for work in works) for share in (0, 200, 1000)]
    assert hits[0] == 0
    assert 330 < hits[1] < 470
    assert hits[2] == 2000
    assert [is_planted("5b" * 32, work, 200) for work in works] != [
        is_planted(SECRET, work, 200) for work in works
    ]
