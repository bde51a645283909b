"""The work process as its agent sees it: bounded to its kinds, told what lies ready, alive whatever a run breaks."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.manifest import describe
from archipel.model.network import random_weights
from archipel.model.versions import encode_anchor
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.prompts import pack_prompts
from archipel.work import child as child_module
from archipel.work.child import Child
from archipel.work.kind import EngineChoice, context_of
from archipel.work.kinds import RUNS, make_kind
from archipel.work.messages import (
    Done,
    DoWork,
    Failed,
    LinkMessage,
    Setup,
    read_from_child,
    read_to_child,
    to_line,
)
from archipel.work.remembered import AskRemembered
from tiny import BATCH, SECRET, tiny_recipe
from work import asked

RECIPE = tiny_recipe(1, 0)
CONFIG = DecoderConfig.from_section(RECIPE.model, asked.TOKENIZER)
PROMPT = (1, 10, 11, 12)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", random_weights(CONFIG, 0), CONFIG, asked.TOKENIZER)
    return tmp_path / "model"


def setup(folder: Path, *kinds: str) -> Setup:
    (folder / "scratch").mkdir(exist_ok=True)
    return Setup(
        kinds=kinds,
        scratch=folder / "scratch",
        readable=(),
        memory=None,
        threads=1,
        engine="archipel",
        dtype="float32",
        device="cpu",
        max_memory_bytes=None,
        trusted=False,
    )


def rollout_work(
    folder: Path,
    model: Path,
    number: int = 1,
    prompt: tuple[int, ...] = PROMPT,
    config: DecoderConfig = CONFIG,
    **changed: Any,
) -> DoWork:
    """Two groups from random weights."""
    state = {
        name: tensor.to(torch.bfloat16)
        for name, tensor in random_weights(config, 0).named_parameters()
    }
    manifest = describe(state, 0, None)
    files = {
        "manifest": manifest.to_bytes(),
        "anchor": encode_anchor(state),
        "prompts": pack_prompts([prompt] * BATCH, batch=0),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    prompts = BlobRef(digest=sha256_digest(files["prompts"]), size=len(files["prompts"]))
    chain = LinkMessage(
        version=0,
        policy=manifest.state,
        manifest=folder / "manifest",
        anchor=folder / "anchor",
        delta=None,
    )
    spec = RolloutSpec(
        run=RECIPE.run.name, version=0, policy=manifest.state, groups=(0, 1), prompts=(prompts,)
    )
    laid_ready = asked.materials(
        RECIPE,
        model,
        work=f"tiny.{number}",
        chain=(chain,),
        blobs={prompts.digest: folder / "prompts"},
    )
    return DoWork(**(laid_ready | changed), spec=spec, folder="tiny-0", cpu_limit_s=600)


def test_every_kind_has_a_run_of_its_own_name_and_no_other_has() -> None:
    kinds = {name: make_kind(name, EngineChoice()) for name in WORDS_OF}
    assert set(kinds) == set(RUNS)
    assert len({kind.run for kind in kinds.values()}) == len(kinds)
    assert [name for name, kind in kinds.items() if kind.shared] == ["update"]
    with pytest.raises(KeyError):
        make_kind("unheard_of", EngineChoice())


def test_materials_arrive_as_they_were_laid_ready(tmp_path: Path, model: Path) -> None:
    sent = rollout_work(
        tmp_path, model, secret=SECRET, recipe=RECIPE.canonical_bytes(), checkpoint=tmp_path / "c"
    )
    line = to_line(sent)
    assert SECRET.hex() in line.decode()
    assert read_to_child(line) == sent
    context = context_of(sent, tmp_path, None)
    assert context.secret == SECRET
    assert context.recipe == RECIPE.canonical_bytes()
    assert context.run == RECIPE.run.name


@pytest.mark.parametrize(
    ("field", "value"), [("folder", "../up"), ("folder", "/root"), ("work", "../1"), ("work", "a")]
)
def test_a_folder_that_leads_elsewhere_is_no_message(
    tmp_path: Path, model: Path, field: str, value: str
) -> None:
    told = json.loads(to_line(rollout_work(tmp_path, model)))
    with pytest.raises(ValueError, match=field):
        read_to_child(json.dumps(told | {field: value}).encode())


def test_a_child_does_only_the_kinds_that_it_was_set_up_for(tmp_path: Path, model: Path) -> None:
    child = Child(setup(tmp_path, "evaluate"), io.BytesIO())
    for message in (
        rollout_work(tmp_path, model),
        AskRemembered(kind="update", run="tiny", folder="tiny-0"),
    ):
        answer = child.answer(message)
        assert isinstance(answer, Failed)
        assert "this child does" in answer.reason
    assert not child.is_shared(rollout_work(tmp_path, model))


def test_what_a_run_breaks_is_told_and_the_child_works_on(tmp_path: Path, model: Path) -> None:
    child = Child(setup(tmp_path, "rollout"), io.BytesIO())
    too_long = rollout_work(tmp_path, model, 1, prompt=(1,) * 1000)
    refused = child.answer(too_long)
    assert isinstance(refused, Failed)
    assert "prompt and new tokens are 1006 together" in refused.reason
    assert refused.fault == "work"
    missing = rollout_work(tmp_path, tmp_path / "no model", 2)
    assert isinstance(child.answer(missing), Failed)
    assert isinstance(child.answer(rollout_work(tmp_path, model, 3)), Done)


def test_progress_counts_the_tokens_of_the_work_at_hand(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "PROGRESS_INTERVAL_S", 0.0)
    answers = io.BytesIO()
    child = Child(setup(tmp_path, "rollout"), answers)
    for number in (1, 2):
        answers.seek(0)
        answers.truncate()
        done = child.answer(rollout_work(tmp_path, model, number))
        assert isinstance(done, Done)
        said = [read_from_child(line) for line in answers.getvalue().splitlines()]
        tokens = [each.tokens for each in said]
        assert tokens == sorted(tokens)
        assert tokens[-1] == done.values["num_tokens"]
        assert tokens[0] < tokens[-1]


@pytest.mark.slow
def test_a_message_that_was_cut_ends_a_child_with_a_sentence(tmp_path: Path) -> None:
    code = (
        "from archipel.work import child\n"
        "child.MAX_LINE_BYTES = 600\n"
        "child.confine = lambda setup: ()\n"
        "child.serve()"
    )
    told = to_line(setup(tmp_path, "rollout")) + b"x" * 601 + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", code], input=told, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"600 bytes that are no message")
    assert b"Traceback" not in done.stderr


def test_a_child_that_only_samples_never_loads_the_trainer(tmp_path: Path, model: Path) -> None:
    code = (
        "import io, sys\n"
        "from archipel.work.child import Child\n"
        "from archipel.work.messages import read_setup, read_to_child\n"
        "assert 'torch' not in sys.modules, 'loaded before the child is confined'\n"
        "child = Child(read_setup(sys.stdin.buffer.readline()), io.BytesIO())\n"
        "print(child.answer(read_to_child(sys.stdin.buffer.readline())).say)\n"
        "print([n for n in sys.modules if n in ('archipel.training.trainer', 'archipel.work.learner')])"
    )
    told = to_line(setup(tmp_path, "rollout")) + to_line(rollout_work(tmp_path, model))
    done = subprocess.run(
        [sys.executable, "-c", code], input=told, capture_output=True, timeout=120, check=False
    )
    assert done.stdout.decode().splitlines()[-2:] == ["done", "[]"], done.stderr.decode()
