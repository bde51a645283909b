"""A run of an adapter over real processes: the central loop's adapter, bit for bit, whatever happens on the way."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.bench.central import Bench
from archipel.cli.archipel import run
from archipel.cli.toml import to_toml
from archipel.model.adapter import merged
from archipel.model.adapter_files import read_adapter
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
from tiny import NAME, SECRET

VERSIONS = 3
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
    assert max(stage.finished().staleness) <= 2


def said(*words: str) -> dict[str, Any]:
    """What a command prints as JSON; it ends well."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as ended:
        run(list(words))
    assert not ended.value.code, out.getvalue()
    return json.loads(out.getvalue()) if "--json" in words else {"text": out.getvalue()}


@pytest.mark.slow
def test_an_adapter_goes_from_labels_through_a_run_to_files_and_into_the_next_run(
    make_stage: Callable[..., Stage], start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "me"))
    exact = {"engine": "exact", "variant": "w7a8"}
    stage = with_adapter(make_stage(VERSIONS), sampling=exact, supervised={"steps": 3})
    recipe, taught = tmp_path / "recipe.toml", tmp_path / "taught"
    sections = stage.recipe.model_dump(mode="json", exclude_none=True)
    recipe.write_text(to_toml(sections))
    said("sft", str(recipe), "--weights", str(start), "--adapter", "--out", str(taught), "--json")
    site = stage.site
    site.start_lab()
    site.keep_secret("update", "secret-order", SECRET)
    site.start_update()
    role, operator = site.home("update"), site.home("lab") / "operator.key"
    opening = ["--lab", site.url, "--key", str(operator), "--home", str(role), "--json"]
    said("run", "open", str(recipe), "--weights", str(start), "--adapter", str(taught), *opening)
    site.start_node("only")
    stage.wait_for_version(VERSIONS)
    stage.wait(lambda: len(site.run(NAME).evaluations) == 2, "the evaluations")
    # 1. The run from its address alone.
    secret = str(role / "secrets" / "secret-order")
    asked = ["--lab", site.url, "--secret-file", secret, "--updates", "all", "--replay", "all"]
    told = said("run", "verify", NAME, "--json", *asked)
    assert told["faults"] == []
    assert told["checked"]["updates made again"] == VERSIONS
    assert told["checked"]["evaluations made again"] == 1
    assert said("exact", "replay", NAME, "--lab", site.url, "--json")["equal"]
    # 2. Its last version, and its first, as files.
    lab = ["--lab", site.url]
    for name, more in (("peft", []), ("first", ["--version", "0"]), ("whole", ["--merge"])):
        said("run", "export", NAME, "--out", str(tmp_path / name), *more, *lab)
    base = read_base(start)
    first, over = read_adapter(tmp_path / "first", base.config)
    before, _ = read_adapter(taught, base.config)
    assert over.base == base.digest
    assert all(torch.equal(tensor, first.state[key]) for key, tensor in before.state.items())
    last, _ = read_adapter(tmp_path / "peft", base.config)
    whole = dict(read_model(tmp_path / "whole", torch.bfloat16).named_parameters())
    assert all(
        torch.equal(tensor, whole[key])
        for key, tensor in merged(base.state, last, base.config).items()
    )
    scored = [
        said("eval", str(tmp_path / name), str(recipe), "--secret-file", secret, "--json", *more)
        for name, more in (("peft", ["--base", str(start)]), ("whole", []))
    ]
    assert scored[0] | {"model": ""} == scored[1] | {"model": ""}
    # 3. On from there: as an adapter over the same weights.
    said("run", "open", str(recipe), "--from", NAME, "--name", "next", *opening)
    stage.wait(lambda: site.run("next").version >= 1, "the next run")
    said("run", "export", "next", "--version", "0", "--out", str(tmp_path / "next"), *lab)
    went_on, _ = read_adapter(tmp_path / "next", base.config)
    assert all(torch.equal(tensor, went_on.state[key]) for key, tensor in last.state.items())
