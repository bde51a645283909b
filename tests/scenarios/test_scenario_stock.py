"""A run of a model that only transformers computes, over real processes: from labels to a directory others load."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from archipel.bench.central import Bench
from archipel.engine.transformers_engine import TransformersEngine
from archipel.model.manifest import describe
from archipel.model.stock import read_stock_model
from archipel.model.stock_library import library
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.rl import reinforce
from archipel.training.start import start_model
from archipel.training.trainer import Trainer
from stage import Stage
from stock_models import write_stock
from tiny import NAME, SECRET

VERSIONS = 3


def by_transformers(recipe: Recipe) -> Recipe:
    section = recipe.model.model_copy(update={"backend": "transformers"})
    return recipe.model_copy(update={"model": section})


def central(recipe: Recipe, start: Path) -> list[str]:
    """Digest of every version that one process makes."""
    torch.set_num_threads(1)
    environment = make_environment(recipe.environment, recipe.run.seed, SECRET)
    model = read_stock_model(start)
    engine, tokenizer = TransformersEngine(model.config), Tokenizer.from_directory(start)
    bench = Bench(recipe, environment, tokenizer, model.config, {}, engine, None)
    trainer = Trainer(model, recipe)

    def digest() -> str:
        return describe(trainer.published_state(), 0, None).state

    digests = [digest()]
    reinforce(trainer, bench.rehearsal(), lambda report: digests.append(digest()))
    return digests


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt_neox", "mamba"])
def test_nodes_of_a_foreign_run_give_the_central_loops_weights(
    family: str, make_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    stage = make_stage(VERSIONS)
    taught = stage.recipe.supervised.model_copy(update={"steps": 80, "decay_steps": 10})
    stage.recipe = stage.recipe.model_copy(update={"supervised": taught})
    stage.recipe = recipe = by_transformers(stage.recipe)
    torch.set_num_threads(1)
    stage._start = tmp_path / "start"
    start_model(recipe, stage._start, weights=write_stock(tmp_path / "raw", family))
    stage.open()
    stage.site.start_node("near")
    stage.site.start_node("far", ["--latency", "0.1"])
    stage.wait_for_version(1)
    stage.kill_child("update")
    stage.wait_for_version(VERSIONS)
    stage.wait(lambda: len(stage.site.run(NAME).evaluations) == 2, "the evaluations")
    out = tmp_path / "out"
    exported = stage.site.fetch_weights(NAME, None, out)
    outcome = stage.finished()
    assert outcome.policies == central(recipe, stage._start)
    assert len(set(outcome.policies)) > 2
    assert exported == outcome.policies[-1]
    loaded = library().AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ours = read_stock_model(out)
    assert (
        describe({n: p.bfloat16() for n, p in ours.named_parameters()}, 0, None).state == exported
    )
    ids = torch.arange(3, 12).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, ours.logits(ids, torch.arange(9)))
