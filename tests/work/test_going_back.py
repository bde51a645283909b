"""What a memory says it remembers, and what lies in it of versions that no ledger confirms."""

import json
from pathlib import Path

from archipel.records.kept import kept, read_kept
from archipel.work.going_back import note_policy, noted_policies, remembered, set_aside
from archipel.work.outbox import Outbox
from archipel.work.remembered import WHY_FILE, GoBack, Remembered


def digest(number: int) -> str:
    return f"sha256:{number:064}"


def test_what_is_at_hand_comes_first_and_once_and_what_was_made_from_is_told_where_it_is_known(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path)
    outbox.begin(5)
    outbox.finish(5, {"policy": digest(55)}, {}, (digest(4), digest(99)))
    made = {"parent": digest(4), "inputs": digest(99)}
    found = remembered(tmp_path, (5, None), {5: digest(5), 4: digest(4), 3: None})
    assert found == (
        Remembered(version=5, policy=digest(55), **made),
        Remembered(version=4, policy=digest(4)),
        Remembered(version=3),
    )
    (alone,) = remembered(tmp_path, None, {5: digest(5)})
    assert alone == Remembered(version=5, policy=digest(5), **made), "a checkpoint's own word"


def test_what_a_version_is_stays_written_down_as_long_as_its_checkpoint_and_nothing_damaged_counts(
    tmp_path: Path,
) -> None:
    for version in (3, 4, 5):
        note_policy(tmp_path, version, digest(version))
        if version == 3:
            (tmp_path / "000000003.safetensors").touch()
    assert noted_policies(tmp_path, (3, 4, 5)) == {3: digest(3), 4: None, 5: digest(5)}
    assert len(list(tmp_path.iterdir())) == 3
    place = tmp_path / "policy-5.json"
    whole = place.read_bytes()
    unsigned = json.dumps({"policy": "none"}).encode()
    for damaged in (whole.replace(b"5", b"6", 1), whole[:-1], unsigned, kept({"policy": 5})):
        place.write_bytes(damaged)
        assert noted_policies(tmp_path, (5,)) == {5: None}


def test_what_a_version_is_goes_aside_with_it_and_the_reason_names_all_that_went(
    tmp_path: Path,
) -> None:
    for version in (7, 9):
        (tmp_path / f"{version:09}.safetensors").touch()
        (tmp_path / f"policy-{version}.json").touch()
    place = set_aside(tmp_path, GoBack(to=6, why="it is ahead"))
    assert place is not None
    assert [each.name for each in tmp_path.iterdir()] == [place.name]
    told = read_kept((place / WHY_FILE).read_bytes(), strict=True)
    assert told == {"to": 6, "why": "it is ahead", "versions": [7, 9]}
