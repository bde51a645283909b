"""A model from nothing is a function of its recipe, and its directory holds what was trained."""

import pytest
import torch

from archipel.model.directory import read_model
from archipel.model.tokenizer import character_tokenizer
from archipel.records.seeds import derive_seed
from archipel.training.checkpoint import latest_number
from archipel.training.environments.environment import make_environment
from archipel.training.sft import environment_examples
from archipel.training.start import (
    NoSupervisedStage,
    initial_model,
    start_model,
    supervised_stage,
)
from archipel.training.trainer import Trainer
from training.tiny_learner import tiny_recipe

torch.set_num_threads(1)
MODEL = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1,
         "intermediate_size": 16, "max_position_embeddings": 32}  # fmt: skip
TAUGHT = {"supervised": {"steps": 2, "batch_size": 4, "decay_steps": 1}, "model": MODEL}
TOKENIZER = character_tokenizer()


def recipe(**sections):
    environment = {"name": "secret_order", "parameters": {"length": 3}}
    return tiny_recipe(environment=environment, **(TAUGHT | sections))


def test_a_start_is_a_function_of_the_recipe_and_is_what_the_directory_holds(tmp_path):
    seen = []
    for name in ("one", "two"):
        progress = start_model(recipe(), tmp_path / name, seen.append, tmp_path / f"{name}-saved")
        assert progress.step == 3
        assert latest_number(tmp_path / f"{name}-saved") == 3
    assert [each.step for each in seen] == [1, 2, 3, 1, 2, 3]
    one, two = (read_model(tmp_path / name).state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    untaught = initial_model(recipe(), TOKENIZER).state_dict()
    assert any(not torch.equal(one[name], untaught[name]) for name in one)


def test_first_weights_follow_from_the_runs_seed():
    run = {"name": "tiny", "versions": 8, "groups_per_update": 4, "group_size": 4}
    models = [initial_model(recipe(run=run | {"seed": seed}), TOKENIZER) for seed in (1, 1, 2)]
    first, same, other = (model.state_dict()["model.embed_tokens.weight"] for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert derive_seed("weights", 1) != derive_seed("weights", 2)


def test_a_recipe_without_a_supervised_stage_is_refused(tmp_path):
    bare = tiny_recipe(model=MODEL)
    environment = make_environment(bare.environment, 0, None)
    with pytest.raises(NoSupervisedStage, match="add one or start from weights"):
        start_model(bare, tmp_path / "m")
    with pytest.raises(NoSupervisedStage, match=r"no \[supervised\] section"):
        supervised_stage(bare, environment, TOKENIZER)
    assert not (tmp_path / "m").exists()


def test_a_stage_is_wired_to_the_recipe_and_the_environment(tmp_path):
    wanted = recipe(optimiser={"learning_rate": 1e-3, "micro_batch_tokens": 128})
    environment = make_environment(wanted.environment, 0, None)
    stage = supervised_stage(wanted, environment, TOKENIZER, tmp_path)
    assert (stage.section, stage.checkpoints) == (wanted.supervised, tmp_path)
    assert (stage.micro_batch_tokens, stage.floor) == (128, environment.supervised_floor)
    prompt, answer = environment.supervised(5)
    assert stage.examples(5) == (
        (TOKENIZER.bos_id, *TOKENIZER.encode(prompt)),
        (*TOKENIZER.encode(answer), TOKENIZER.eos_id),
    )


def test_an_environment_without_supervised_data_says_so_on_the_first_example():
    class Silent:
        def supervised(self, index):
            return None

    example = environment_examples(Silent(), TOKENIZER)
    with pytest.raises(ValueError, match=r"remove \[supervised\]"):
        example(0)


def test_a_trainer_reads_every_constant_of_its_optimiser_from_the_recipe():
    constants = {"beta1": 0.5, "beta2": 0.6, "weight_decay": 0.7, "clip_norm": 0.8, "epsilon": 0.9}
    wanted = recipe(optimiser=constants)
    trainer = Trainer(initial_model(wanted, TOKENIZER), wanted)
    groups = trainer._optimiser._adam.param_groups
    assert [group["weight_decay"] for group in groups] == [0.7, 0.0]
    assert {(group["betas"], group["eps"]) for group in groups} == {((0.5, 0.6), 0.9)}
    assert trainer._optimiser._settings.clip_norm == 0.8
