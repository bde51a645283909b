"""`archipel run open` of a recipe that leaves the engine open: what it chooses, says, records and passes on."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.cli.toml import to_toml
from archipel.engine.exact.choice import Choice, read_choice, write_choice
from archipel.engine.exact.scoring import Figures
from archipel.identity import Identity
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import Manifest, describe
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.model.versions import encode_anchor
from archipel.node.opening import terms_and_pace
from archipel.node.operator import model_files
from archipel.records.exact import CONTRACTS
from archipel.records.recipe import recipe_from_canonical
from archipel.records.statements import ModelFile, RunOpened
from archipel.work import exact_default, exact_finding
from archipel.work.exact_check import read, state_of
from live import live
from tiny import SECRET, tiny_recipe
from world import World

W13 = CONTRACTS["w13a15"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    write_model(tmp_path / "start", random_weights(config, 0), config, tokenizer)
    return tmp_path / "start"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """It says nothing of an engine."""
    sections = tiny_recipe(3, 1).model_dump(exclude_none=True)
    del sections["sampling"]["engine"]
    (tmp_path / "tiny.toml").write_text(to_toml(sections))
    return tmp_path / "tiny.toml"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    made = World(tmp_path / "lab", ledger_on_disk=False)
    monkeypatch.setattr(Identity, "load", lambda *asked: made.operator)
    secrets = tmp_path / "home" / "update" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "secret-order").touch(0o600)
    (secrets / "secret-order").write_bytes(SECRET)
    yield made
    made.close()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The tiny model counts as large enough, and exact takes half of the time."""
    monkeypatch.setattr(exact_default, "MIN_PARAMETERS", 1000)
    monkeypatch.setattr(exact_finding, "ratio", lambda *asked: 0.5)
    return monkeypatch


def at(world: World, *arguments: object, code: int = 0) -> Result:
    async def whole() -> Result:
        async with live(world) as url:
            words = [*map(str, arguments), "--lab", url]
            return await asyncio.to_thread(CliRunner().invoke, command, words)

    done = asyncio.run(whole())
    assert done.exit_code == code, done.output
    return done


def opening(world: World, name: str = "tiny") -> tuple[RunOpened, str, str | None]:
    """The run's, with what its recorded recipe states."""
    opened = world.run(name).opened
    stated = recipe_from_canonical(world.lab.blobs.path(opened.recipe.digest).read_bytes())
    return opened, stated.sampling.engine, stated.sampling.variant


def a_choice(weights: Path) -> Choice:
    near = Figures(10, 1e-5, 1e-6, 1e-4, 1e-3, 2.0, 0.99)
    state = state_of(read(weights))
    return Choice("w13a15", W13, 9e-4, "bf16", {"w13a15": near}, "sha256:t", state)


def files(opened: RunOpened) -> set[str]:
    return {file.name for file in opened.model}


def test_a_small_model_is_opened_for_any_engine_with_the_bytes_of_older_recipes(
    world: World, weights: Path, recipe: Path
) -> None:
    write_choice(weights, a_choice(weights))
    done = at(world, "run", "open", recipe, "--weights", weights, "--json")
    opened, *stated = opening(world)
    assert (opened.pace.exact, *stated) == (None, "any", None)
    assert opened.recipe.digest == tiny_recipe(3, 1).digest
    told = json.loads(done.stdout)["sampled_by"]
    assert (told["variant"], "below 10 exact is slower" in told["why"]) == (None, True)
    assert f"sampled by any engine: {told['why']}\n" in done.stderr
    assert "exact.json" in files(opened), "it travels whatever was decided"


def test_a_large_model_is_measured_and_opened_exactly_and_the_choice_travels(
    world: World, weights: Path, recipe: Path, large: pytest.MonkeyPatch
) -> None:
    words = ("run", "open", recipe, "--weights", weights)
    dry = CliRunner().invoke(command, [*map(str, words), "--dry-run"])
    shown = json.loads(dry.stdout)
    variant = shown["sampled_by"]["variant"]
    assert variant in CONTRACTS
    assert (
        shown["recipe"]["sampling"] | {"engine": "exact", "variant": variant}
        == shown["recipe"]["sampling"]
    )
    assert shown["pace"]["exact"] == CONTRACTS[variant]
    assert not (weights / "exact.json").exists()
    done = at(world, *words)
    opened, *stated = opening(world)
    assert (opened.pace.exact, *stated) == (CONTRACTS[variant], "exact", variant)
    assert opened.recipe.digest == shown["digest"]
    assert f"sampled by exact {variant}: it is near enough" in done.stderr
    assert "takes 0.50 of float32's time here" in done.stderr
    assert f"no node stated {CONTRACTS[variant]}: rollouts wait" in done.stderr
    assert read_choice(weights, state_of(read(weights))).variant == variant
    assert "exact.json" in files(opened)


@pytest.mark.slow
def test_a_choice_beside_the_weights_is_not_measured_again_and_one_of_others_stays_at_home(
    world: World, weights: Path, recipe: Path, large: pytest.MonkeyPatch
) -> None:
    write_choice(weights, a_choice(weights))
    large.setattr(exact_finding, "check", None)
    words = ("run", "open", recipe, "--weights", weights)
    at(world, *words)
    assert opening(world)[0].pace.exact == W13
    recipe.write_text(recipe.read_text().replace("[sampling]", '[sampling]\nengine = "any"'))
    spoilt = (weights / "exact.json").read_text().replace(state_of(read(weights)), "sha256:other")
    (weights / "exact.json").write_text(spoilt)
    done = at(world, *words, "--name", "explicit")
    opened, *stated = opening(world, "explicit")
    assert (opened.pace.exact, *stated) == (None, "any", None), "what is stated is not overridden"
    assert "sampled by" not in done.stderr
    assert "exact.json stays at home: " in done.stderr
    assert "exact.json" not in files(opened)


def test_it_is_said_how_many_nodes_at_work_can_do_the_contract(
    world: World, weights: Path, recipe: Path, large: pytest.MonkeyPatch
) -> None:
    write_choice(weights, a_choice(weights))
    words = ("run", "open", recipe, "--weights", weights, "--name")
    world.provider("plain").join()
    assert f"1 node is at work, but none stated {W13}" in at(world, *words, "one").stderr
    world.provider("able", exact=(W13,)).join()
    assert f"1 of 2 nodes at work stated {W13}; the others" in at(world, *words, "two").stderr


def publish(world: World, weights: Path) -> Manifest:
    """An exact run, opened with what lies beside the weights, whose version 0 is of weights that moved."""
    recipe = tiny_recipe(3, 1).by_variant("w13a15")
    terms, pace = terms_and_pace(recipe, weights)
    model = [ModelFile(name=p.name, blob=world.put(p.read_bytes())) for p in model_files(weights)]
    learner = world.learner()
    world.speak(
        world.operator, RunOpened, run="tiny", recipe=world.put(recipe.canonical_bytes()),
        terms=terms, pace=pace, model=tuple(model), trusted=(learner.identity.did,),
    )  # fmt: skip
    grant = learner.ask()
    assert grant is not None
    state = {
        name: (weight.detach().float() * 1.25).bfloat16()
        for name, weight in read_model(weights, torch.bfloat16).named_parameters()
    }
    manifest = describe(state, 0, None)
    anchor = world.put(encode_anchor(state))
    learner.answer(
        grant, policy=manifest.state, manifest=world.put(manifest.to_bytes()), anchor=anchor
    )
    return manifest


@pytest.mark.slow
def test_an_export_carries_the_choice_and_a_run_from_it_keeps_what_the_earlier_had(
    world: World, weights: Path, recipe: Path, large: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = a_choice(weights)
    write_choice(weights, measured)
    manifest = publish(world, weights)
    left = tmp_path / "home" / "export" / "models" / "tiny" / "chat_template.jinja"
    left.parent.mkdir(parents=True)
    left.write_text("of another run that had this name")
    at(world, "run", "export", "tiny", "--out", tmp_path / "out")
    assert not left.exists()
    carried = read_choice(tmp_path / "out", manifest.state)
    assert (carried.variant, carried.measured_on) == ("w13a15", measured.state)
    large.setattr(exact_finding, "find_out", None)  # nothing is measured
    done = at(world, "run", "open", recipe, "--from", "tiny@0", "--name", "on")
    assert "sampled by exact w13a15: as run tiny was" in done.stderr
    opened, *stated = opening(world, "on")
    assert (opened.pace.exact, *stated) == (W13, "exact", "w13a15")
    assert "exact.json" in files(opened)
