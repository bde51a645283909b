"""A supervised stage looks at its places before it works, and continues only what is its own."""

import json
import logging
import shutil

import pytest
import torch

from archipel.model.directory import read_model, write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer, tokenizer_named
from archipel.training.checkpoint import remove_checkpoints
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.sft import AnothersCheckpoint, fitting
from archipel.training.start import start_model
from training.tiny_learner import tiny_config, tiny_recipe

torch.set_num_threads(1)
MODEL = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1,
         "intermediate_size": 16, "max_position_embeddings": 64}  # fmt: skip
RUN = {"name": "tiny", "versions": 8, "groups_per_update": 4, "group_size": 4}


def recipe(seed=0, steps=54, **sections):
    changed = {
        "run": RUN | {"seed": seed},
        "environment": {"name": "secret_order", "parameters": {"length": 3}},
        "supervised": {"steps": steps, "batch_size": 2, "decay_steps": 1},
        "model": MODEL,
    }
    return tiny_recipe(**(changed | sections))


class Killed(Exception):
    pass


def killed_after(step):
    def on_step(progress):
        if progress.step == step:
            raise Killed

    return on_step


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        start_model(recipe(1), folder / "m", killed_after(52), folder / "saved")
    return folder / "saved"


@pytest.fixture
def saved(killed, tmp_path):
    """What a stage of seed 1 left that was killed after its checkpoint of step 50."""
    return shutil.copytree(killed, tmp_path / "saved")


def test_a_killed_stage_continues_to_the_same_weights(tmp_path, saved):
    steps = []
    start_model(recipe(1), tmp_path / "m", lambda each: steps.append(each.step), saved)
    assert steps[0] == 51
    start_model(recipe(1), tmp_path / "whole")
    one, two = (read_model(tmp_path / name).state_dict() for name in ("m", "whole"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "other",
    [
        recipe(2),
        recipe(1, steps=55),
        recipe(1, environment={"name": "secret_order", "parameters": {"length": 4}}),
        recipe(1, model=MODEL | {"hidden_size": 32}),
        recipe(1, run=RUN | {"seed": 1, "name": "other"}),
    ],
    ids=["seed", "steps", "data", "width", "name"],
)
def test_what_another_stage_saved_is_refused_by_its_folder_and_both_names(tmp_path, saved, other):
    with pytest.raises(AnothersCheckpoint, match="step 50 of another") as refused:
        start_model(other, tmp_path / "m", checkpoints=saved)
    said = str(refused.value)
    assert str(saved) in said
    assert "'tiny', seed 1" in said
    assert f"{other.run.name!r}, seed {other.run.seed}" in said
    assert not (tmp_path / "m").exists()


def test_data_that_changed_under_the_same_name_is_another_stage(tmp_path):
    path = tmp_path / "sums.jsonl"

    def wanted(extra):
        rows = [{"question": f"{n}+{n}", "answer": f"#### {2 * n + extra}"} for n in range(60)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        environment = {"name": "jsonl", "parameters": {"path": str(path), "template": "{question}"}}
        return recipe(environment=environment, model=MODEL | {"tokenizer": "bytes"})

    with pytest.raises(Killed):
        start_model(wanted(0), tmp_path / "m", killed_after(51), tmp_path / "saved")
    with pytest.raises(AnothersCheckpoint):
        start_model(wanted(1), tmp_path / "m", checkpoints=tmp_path / "saved")


def test_a_stage_starts_from_given_weights_and_keeps_their_architecture(tmp_path):
    tokenizer = character_tokenizer()
    config = tiny_config(vocab_size=tokenizer.vocab_size, hidden_size=24, head_dim=6)
    write_model(tmp_path / "given", random_weights(config, 7), config, tokenizer)
    start_model(recipe(steps=1), tmp_path / "tuned", weights=tmp_path / "given")
    given, tuned = read_model(tmp_path / "given"), read_model(tmp_path / "tuned")
    assert tuned.config == given.config
    assert Tokenizer.from_directory(tmp_path / "tuned").vocab_size == tokenizer.vocab_size
    away = [
        float((one - other).detach().abs().max())
        for one, other in zip(given.parameters(), tuned.parameters(), strict=True)
    ]
    assert 0 < max(away) < 0.05, "two steps from the given weights"


def test_weights_that_were_given_are_part_of_what_a_checkpoint_belongs_to(tmp_path, saved):
    tokenizer = tokenizer_named("characters")
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    write_model(tmp_path / "given", random_weights(config, 7), config, tokenizer)
    with pytest.raises(AnothersCheckpoint, match="first weights"):
        start_model(recipe(1), tmp_path / "m", checkpoints=saved, weights=tmp_path / "given")


def test_an_output_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "thesis.tex").write_text("mine")
    file.write_text("mine")
    closed = tmp_path / "closed"
    closed.symlink_to(tmp_path / "nowhere")
    places = [(full, "not empty"), (file, "is a file"), (file / "m", "cannot be made"),
              (closed, "link to nothing")]  # fmt: skip
    for place, reason in places:
        steps = []
        with pytest.raises(OSError, match=reason) as refused:
            start_model(recipe(), place, steps.append)
        assert str(place) in str(refused.value)
        assert not steps
    assert (full / "thesis.tex").read_text() == file.read_text() == "mine"


def test_progress_is_not_saved_over_a_file_and_what_else_lies_beside_it_stays(tmp_path):
    place = tmp_path / "m.partial"
    place.write_text("mine")
    with pytest.raises(FileExistsError, match="progress is saved in a folder"):
        start_model(recipe(), tmp_path / "m", killed_after(1), place)
    place.unlink()
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    start_model(recipe(steps=1), tmp_path / "m", checkpoints=place)
    remove_checkpoints(place)
    assert [each.name for each in place.iterdir()] == ["notes.txt"]
    (place / "notes.txt").unlink()
    remove_checkpoints(place)
    assert not place.exists()
    remove_checkpoints(place)


def test_writing_the_model_leaves_what_was_saved_beside_it(tmp_path):
    """Were it removed first, a disk that is full at the end would cost the whole stage."""
    start_model(recipe(steps=1), tmp_path / "m", checkpoints=tmp_path / "m.partial")
    assert any((tmp_path / "m.partial").iterdir())


def test_examples_too_long_for_the_model_are_left_out_and_said(caplog):
    def examples(index):
        return (1,) * (9 if index % 5 == 0 else 3), (index + 1, 2)

    with caplog.at_level(logging.WARNING):
        taken = [fitting(examples, 6)(index) for index in range(12)]
    assert [answer[0] - 1 for _, answer in taken] == [1, 1, 2, 3, 4, 6, 6, 7, 8, 9, 11, 11]
    assert "10 tokens long and the model's context 6" in caplog.text
    assert fitting(examples, 10)(0) == examples(0)
    with pytest.raises(InvalidEnvironment, match="longer than the model's context of 3"):
        fitting(examples, 3)(0)
