"""A run killed at any moment and resumed gives bitwise the same curve."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch

from archipel.training.checkpoint import NoCheckpoint, read_latest, write_checkpoint
from archipel.training.trainer import Trainer
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe

torch.set_num_threads(1)
SCRIPT = Path(__file__).with_name("resumable_run.py")


def curve_of(path):
    """Version -> report; a version may be reported twice, but never differently."""
    curve = {}
    for line in path.read_text().splitlines():
        report = json.loads(line)
        assert curve.setdefault(report["version"], report) == report
    return curve


def test_sigkill_and_restart_give_the_curve_of_an_uninterrupted_run(tmp_path):
    versions = 40
    trainer = Trainer(tiny_model(3), tiny_recipe(run={"versions": versions}))
    expected = {}
    for version in range(versions):
        report = trainer.update(tiny_groups(tiny_model(3), version))
        expected[report.version] = asdict(report)
    command = [sys.executable, SCRIPT, tmp_path, str(versions)]
    with subprocess.Popen(command) as process:
        _wait_for_version(tmp_path / "checkpoints", 3, process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    subprocess.run(command, check=True, timeout=100)
    assert curve_of(tmp_path / "curve.jsonl") == expected
    resumed = Trainer.restore(tmp_path / "checkpoints")
    for name, tensor in trainer._optimiser.state().items():
        assert torch.equal(tensor, resumed._optimiser.state()[name]), name


class Killed(BaseException):
    """Stands for SIGKILL between two file operations."""


@pytest.mark.parametrize("operation", range(10))
def test_a_kill_between_any_two_file_operations_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, operation
):
    tensors = {"part": {"x": torch.arange(4.0)}}
    for number in (1, 2):
        write_checkpoint(tmp_path, number, tensors, {"number": number})
    countdown = iter(range(operation, -1, -1))

    def before(original):
        def wrapped(*args, **kwargs):
            if next(countdown, 0) == 0:
                raise Killed
            return original(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        for owner, name in (
            (os, "fsync"), (Path, "mkdir"), (Path, "rename"), (Path, "write_bytes"),
            (shutil, "rmtree"), (safetensors.torch, "save_file"),
        ):  # fmt: skip
            patch.setattr(owner, name, before(getattr(owner, name)))
        with pytest.raises(Killed):
            write_checkpoint(tmp_path, 3, tensors, {"number": 3})
    found = read_latest(tmp_path)
    assert found.number in (2, 3)
    assert torch.equal(found.tensors["part"]["x"], tensors["part"]["x"])
    write_checkpoint(tmp_path, 4, tensors, {"number": 4})
    assert read_latest(tmp_path).number == 4


def _wait_for_version(directory, version, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(int(path.name) >= version for path in directory.glob("0*")):
            return
        time.sleep(0.002)
    pytest.fail(f"the run ended or hung before version {version}: killing it would show nothing")


def trained(tmp_path, updates):
    trainer = Trainer(tiny_model(3), tiny_recipe())
    for version in range(updates):
        trainer.update(tiny_groups(tiny_model(3), version))
        trainer.save(tmp_path)
    return trainer


def test_restored_and_continued_equals_never_stopped(tmp_path):
    trainer = trained(tmp_path, 2)
    restored = Trainer.restore(tmp_path)
    for version in (2, 3):
        groups = tiny_groups(tiny_model(3), version)
        assert restored.update(groups) == trainer.update(groups)
    for name, tensor in trainer.published_state().items():
        assert torch.equal(tensor, restored.published_state()[name])


def test_a_trainer_saved_before_its_first_step_resumes_exactly(tmp_path):
    trainer = Trainer(tiny_model(3), tiny_recipe())
    trainer.save(tmp_path)
    restored = Trainer.restore(tmp_path)
    groups = tiny_groups(tiny_model(3), 0)
    assert restored.update(groups) == trainer.update(groups)


@pytest.mark.parametrize("name", ["optimiser.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(tmp_path, name, damage):
    trained(tmp_path, 3)
    newest = max(tmp_path.glob("0*")) / name
    data = bytearray(newest.read_bytes())
    if damage == "remove":
        newest.unlink()
    else:
        data[len(data) // 2] ^= 1
        newest.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    assert Trainer.restore(tmp_path).version == 2


def test_with_no_whole_checkpoint_the_error_says_what_was_wrong_with_each(tmp_path):
    with pytest.raises(NoCheckpoint, match="none found"):
        Trainer.restore(tmp_path / "absent")
    trained(tmp_path, 1)
    next(tmp_path.glob("0*/*.safetensors")).unlink()
    with pytest.raises(NoCheckpoint, match=r"optimiser\.safetensors is missing"):
        Trainer.restore(tmp_path)


def test_half_written_checkpoints_are_never_seen_and_are_swept_away(tmp_path):
    partial = tmp_path / ".partial-000000009"
    partial.mkdir()
    (partial / "optimiser.safetensors").write_bytes(b"half")
    with pytest.raises(NoCheckpoint):
        read_latest(tmp_path)
    write_checkpoint(tmp_path, 1, {"part": {"x": torch.ones(2)}}, {"a": 1})
    assert not partial.exists()
    found = read_latest(tmp_path)
    assert (found.number, found.facts, found.tensors["part"]["x"].tolist()) == (1, {"a": 1}, [1, 1])


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    trained(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000003", "000000004"]


def test_a_file_of_the_right_digest_but_wrong_content_is_refused(tmp_path):
    """The digest is checked over bytes; a checkpoint of another model does not load."""
    Trainer(tiny_model(3), tiny_recipe()).save(tmp_path)
    found = read_latest(tmp_path)
    state = found.tensors["optimiser"]
    state["master.model.norm.weight"] = torch.ones(3)
    write_checkpoint(tmp_path, 1, {"optimiser": state}, found.facts)
    with pytest.raises(ValueError, match=r"model.norm.weight has shape"):
        Trainer.restore(tmp_path)
