"""A checkpoint, or a member's memory, on a disk that is really full: what was there stays, the reason says so, and room is
used.
"""

import pytest
import torch

from archipel.training.checkpoint import latest_number, read_latest, write_checkpoint
from archipel.work.faults import failed
from archipel.work.kind import EngineChoice
from archipel.work.kinds.inner_step import InnerSteps
from archipel.work.kinds.merge import Merges
from faults.disks import _disk, _full
from work.outer_steps import OuterSteps, recipe_of, write_corpus

FREE_BYTES = 100_000
STATE = {"master": torch.zeros(64_000)}
"""256 kB: the disk takes less than half of it."""


def test_a_checkpoint_that_the_disk_refuses_is_nobodys_fault_and_is_written_when_there_is_room(
    tmp_path,
):
    home, saved = tmp_path / "home", tmp_path / "home" / "saved"
    home.mkdir()
    with _disk(home) as has_own:
        if not has_own:
            pytest.skip("takes a user who may mount a small disk")
        write_checkpoint(saved, 1, STATE, {})
        with _full(home, FREE_BYTES):
            for _ in range(3):
                with pytest.raises(OSError, match=r"(?i)no space left") as refused:
                    write_checkpoint(saved, 2, STATE, {})
            assert [path.name for path in saved.iterdir()] == ["000000001.safetensors"]
        told = failed(refused.value)
        assert told.fault is None
        assert str(saved) in told.reason
        assert told.reason.endswith("make room on the disk, or mend it")
        write_checkpoint(saved, 2, STATE, {})
        assert latest_number(saved) == 2
        assert read_latest(saved) is not None


def test_a_member_whose_disk_is_full_blames_nobody_and_makes_the_same_when_there_is_room(tmp_path):
    run = OuterSteps(tmp_path / "run", recipe_of(write_corpus(tmp_path / "corpus")))
    run.publish(run.merge(Merges()))
    kind, home = InnerSteps(EngineChoice()), tmp_path / "run" / "memory-full"
    home.mkdir()
    with _disk(home) as has_own:
        if not has_own:
            pytest.skip("takes a user who may mount a small disk")
        with (
            _full(home, FREE_BYTES // 10),
            pytest.raises(OSError, match=r"(?i)no space left") as refused,
        ):
            run.member(kind, "full", 0)
        assert failed(refused.value).fault is None
        made = run.member(kind, "full", 0).files["payload"].read_bytes()
        assert latest_number(home / "member") == 1
    assert made == run.member(InnerSteps(EngineChoice()), "other", 0).files["payload"].read_bytes()
