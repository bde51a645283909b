"""A run of an adapter over real processes: the central loop's adapter, bit for bit, whatever happens on the way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archipel.bench.central import Bench
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.recipe import Recipe
from archipel.records.recipe_model import AdapterSection
from archipel.records.statements import WorkAnswered
from archipel.training.environments.environment import make_environment
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer
from archipel.work.bases import read_base
from archipel.work.engines import our_engine
from stage import Outcome, Stage
from tiny import SECRET

ADAPTER = AdapterSection(rank=4, alpha=8.0)


def central(recipe: Recipe, start: Path) -> list[str]:
    """Digest of every version that one process makes."""
    torch.set_num_threads(1)
    base = read_base(start)
    environment = make_environment(recipe.environment, recipe.run.seed, SECRET)
    engine = our_engine(base.config, recipe.sampling.contract)
    tokenizer = Tokenizer.from_directory(start)
    bench = Bench(recipe, environment, tokenizer, base.config, dict(base.state), engine, None)
    trainer = Trainer(read_model(start), recipe)

    def digest() -> str:
        return describe(trainer.published_state(), 0, None, trainer.over).state

    digests = [digest()]
    reinforce(trainer, bench.rehearsal(), lambda report: digests.append(digest()))
    return digests


def with_adapter(stage: Stage, **changed: dict) -> Stage:
    sections = {"adapter": ADAPTER}
    for name, fields in changed.items():
        sections[name] = getattr(stage.recipe, name).model_copy(update=fields)
    stage.recipe = stage.recipe.model_copy(update=sections)
    return stage


def sizes(outcome: Outcome) -> list[dict[str, int]]:
    answers = [said.answer for said in outcome.history if isinstance(said, WorkAnswered)]
    return [dict(each.metrics) for each in answers if isinstance(each, UpdateAnswer)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling", [{}, {"engine": "exact", "variant": "w7a8"}], ids=["float", "exact"]
)
def test_nodes_of_an_adapter_run_give_the_central_loops_adapter(
    make_stage: Callable[..., Stage], start: Path, sampling: dict
) -> None:
    stage = with_adapter(make_stage(), sampling=sampling)
    stage.open()
    stage.site.start_node("near")
    stage.site.start_node("far", ["--latency", "0.1"])
    stage.wait_for_version(2)
    stage.site.start_node("late")
    stage.kill_child("update")
    outcome = stage.finished()
    assert outcome.policies == central(stage.recipe, start)
    assert len(set(outcome.policies)) > 2
    full = sum(p.numel() for p in read_model(start).parameters()) * 2
    assert all(each["full_bytes"] < full / 2 for each in sizes(outcome))


@pytest.mark.slow
def test_staleness_of_an_adapter_run_stays_within_its_bound(
    make_stage: Callable[..., Stage],
) -> None:
    stage = with_adapter(make_stage(staleness=2))
    stage.open()
    for name in ("one", "two"):
        stage.site.start_node(name)
    outcome = stage.finished()
    seen = {int(age) for made in outcome.versions for age in [made.metrics.get("staleness_max", 0)]}
    assert max(seen) <= 2
