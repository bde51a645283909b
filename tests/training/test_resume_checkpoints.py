"""A run killed at any moment and resumed gives bitwise the same curve."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from archipel.model.manifest import describe
from archipel.training.checkpoint import (
    BadCheckpoint,
    NoCheckpoint,
    checkpoint_file,
    latest_number,
    read_file,
    read_latest,
    write_checkpoint,
    write_file,
)
from archipel.training.trainer import Trainer
from training.resumable_run import run
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


@pytest.mark.slow
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
    run(tmp_path, versions)
    assert curve_of(tmp_path / "curve.jsonl") == expected
    resumed = Trainer.restore(tmp_path / "checkpoints")
    for name, tensor in trainer._optimiser.state().items():
        assert torch.equal(tensor, resumed._optimiser.state()[name]), name


class Killed(BaseException):
    """Stands for SIGKILL between two file operations."""


@pytest.mark.parametrize("operation", range(7))
def test_a_kill_between_any_two_file_operations_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, operation
):
    tensors = {"x": torch.arange(4.0)}
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
            (os, "fsync"), (Path, "mkdir"), (Path, "replace"), (Path, "unlink"),
            (safetensors.torch, "save_file"),
        ):  # fmt: skip
            patch.setattr(owner, name, before(getattr(owner, name)))
        with pytest.raises(Killed):
            write_checkpoint(tmp_path, 3, tensors, {"number": 3})
    found = read_latest(tmp_path)
    assert found.number in (2, 3)
    assert torch.equal(found.tensors["x"], tensors["x"])
    write_checkpoint(tmp_path, 4, tensors, {"number": 4})
    assert read_latest(tmp_path).number == 4


def _wait_for_version(directory, version, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(int(path.stem) >= version for path in directory.glob("0*")):
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


@pytest.mark.parametrize("damage", ["facts", "tensors", "truncate", "empty"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(tmp_path, damage):
    trained(tmp_path, 3)
    newest = max(tmp_path.glob("0*"))
    data = bytearray(newest.read_bytes())
    half = len(data) // 2
    place = data.index(b"optimiser_steps") + 20 if damage == "facts" else half
    data[place] ^= 1
    newest.write_bytes({"truncate": data[:half], "empty": b""}.get(damage, data))
    if damage != "tensors":
        assert latest_number(tmp_path) == 2, "what has no whole description is passed over unread"
    assert Trainer.restore(tmp_path).version == 2
    assert latest_number(tmp_path) == 2, "else a learner would be told to stand where it cannot"
    write_checkpoint(tmp_path, 3, {"x": torch.ones(2)}, {})
    assert len(list(tmp_path.iterdir())) == 2, "what was set aside goes with the next write"


def test_where_a_memory_stands_is_answered_without_reading_a_tensor(tmp_path, monkeypatch):
    """Hashing a large model takes longer than an agent waits for the answer."""
    trained(tmp_path, 2)
    monkeypatch.setattr(safetensors.torch, "load_file", None)
    monkeypatch.setattr("archipel.training.checkpoint.digest_of", None)
    assert latest_number(tmp_path) == 2


def test_a_checkpoint_that_cannot_be_opened_now_stays_where_it_is(tmp_path, monkeypatch):
    trained(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", _without_descriptors)
        with pytest.raises(NoCheckpoint, match="Too many open files"):
            Trainer.restore(tmp_path)
    assert Trainer.restore(tmp_path).version == 2


def _without_descriptors(path, mode):
    raise OSError(errno.EMFILE, "Too many open files")


def test_with_no_whole_checkpoint_the_error_says_what_was_wrong_with_each(tmp_path):
    with pytest.raises(NoCheckpoint, match="none found"):
        Trainer.restore(tmp_path / "absent")
    trained(tmp_path, 1)
    next(tmp_path.glob("0*")).write_bytes(b"half")
    with pytest.raises(NoCheckpoint, match=r"000000001\.safetensors is not a checkpoint"):
        Trainer.restore(tmp_path)


def test_half_written_checkpoints_are_never_seen_and_are_swept_away(tmp_path):
    partial = tmp_path / ".000000009.safetensors.partial"
    partial.write_bytes(b"half")
    with pytest.raises(NoCheckpoint):
        read_latest(tmp_path)
    write_checkpoint(tmp_path, 1, {"x": torch.ones(2)}, {"a": 1})
    assert not partial.exists()
    found = read_latest(tmp_path)
    assert (found.number, found.facts, found.tensors["x"].tolist()) == (1, {"a": 1}, [1, 1])


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    trained(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000003.safetensors",
        "000000004.safetensors",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update({"master.model.norm.weight": torch.ones(3)}), "has shape"),
        (lambda state: state.pop("exp_avg.model.norm.weight"), "is missing"),
        (
            lambda state: state.update({"exp_avg_sq.model.norm.weight": torch.ones(16).half()}),
            "float16",
        ),
    ],
)
def test_a_whole_file_of_another_model_is_refused(tmp_path, change, reason):
    """The digest is checked over bytes; a checkpoint of another model does not load."""
    Trainer(tiny_model(3), tiny_recipe()).save(tmp_path)
    found = read_latest(tmp_path)
    change(found.tensors)
    write_checkpoint(tmp_path, 1, found.tensors, found.facts)
    with pytest.raises(BadCheckpoint, match=rf"model.norm.weight {reason}|norm.weight.*{reason}"):
        Trainer.restore(tmp_path)


def packed(trainer, folder):
    """The trainer as one file."""
    trainer.save(folder)
    return checkpoint_file(folder, trainer.version)


def test_a_description_of_a_huge_model_allocates_nothing(tmp_path):
    trainer = Trainer(tiny_model(3), tiny_recipe())
    found = read_file(packed(trainer, tmp_path))
    model = json.loads(found.facts["model"]) | {"hidden_size": 65536, "vocab_size": 2**20}
    write_file(tmp_path / "huge", 0, found.tensors, found.facts | {"model": json.dumps(model)})
    with pytest.raises(BadCheckpoint, match="expected"):
        Trainer.unpack(tmp_path / "huge")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        (2**40).to_bytes(8, "little"),
        (20).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"null",
        (20_000).to_bytes(8, "little") + b"[" * 20_000,
        (24).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}',
        (33).to_bytes(8, "little") + b'{"__metadata__":{"checkpoint":1}}',
    ],
)
def test_bytes_that_are_no_checkpoint_end_with_one_sentence(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BadCheckpoint, match="file is not a checkpoint"):
        read_file(tmp_path / "file")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        read_file(tmp_path / "absent")


def test_every_byte_of_a_packed_file_counts(tmp_path):
    """A bit flipped anywhere is found out, or changes nothing that is read."""
    path = tmp_path / "packed"
    write_file(path, 1, {"x": torch.arange(3.0), "y": torch.ones(1, 2)}, {"a": "b"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = read_file(path)
        except BadCheckpoint:
            continue
        assert (found.number, found.facts) == (1, {"a": "b"})
        assert found.tensors["x"].tolist() == [0, 1, 2]


CONTINUE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from archipel.model.manifest import describe
from archipel.training.trainer import Trainer
from training.resumable_run import run
from training.tiny_learner import tiny_groups, tiny_model
trainer = Trainer.unpack(Path(sys.argv[2]))
while trainer.version < 6:
    trainer.update(tiny_groups(tiny_model(3), trainer.version))
trainer.save(Path(sys.argv[3]))
print(describe(trainer.published_state(), 6, None).state)
"""


@pytest.mark.slow
def test_packed_and_unpacked_elsewhere_equals_never_stopped(tmp_path):
    trainer = trained(tmp_path / "unused", 3)
    three = packed(trainer, tmp_path / "three")
    paths = [Path(__file__).parents[1], three, tmp_path / "elsewhere"]
    command = [sys.executable, "-c", CONTINUE, *paths]
    told = subprocess.run(command, check=True, timeout=100, capture_output=True, text=True).stdout
    for version in (3, 4, 5):
        trainer.update(tiny_groups(tiny_model(3), version))
    six = packed(trainer, tmp_path / "six")
    assert told.strip() == describe(trainer.published_state(), 6, None).state
    assert checkpoint_file(tmp_path / "elsewhere", 6).read_bytes() == six.read_bytes()


def test_a_packed_file_is_twelve_bytes_a_parameter_and_says_whose_it_is(tmp_path):
    trainer = trained(tmp_path / "unused", 1)
    file = packed(trainer, tmp_path)
    size = sum(p.numel() for p in tiny_model(3).parameters())
    with safetensors.safe_open(file, "pt") as opened:
        nbytes = [opened.get_tensor(name).nbytes for name in opened.keys()]  # noqa: SIM118
    assert sum(nbytes) == 12 * size
    assert Trainer.unpack(file).recipe.digest == trainer.recipe.digest


def test_a_full_disk_while_saving_leaves_what_was_there(tmp_path, monkeypatch):
    trainer = trained(tmp_path, 1)
    (before,) = tmp_path.iterdir()
    data = before.read_bytes()
    trainer.update(tiny_groups(tiny_model(3), 1))

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.save(tmp_path)
    assert before.read_bytes() == data
    assert list(tmp_path.iterdir()) == [before]
