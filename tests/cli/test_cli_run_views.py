"""`archipel run show, watch, why-stuck, curve, rollouts` at a lab that has a run: what people read of it."""

import asyncio
import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console

from archipel.blobs import BlobStore
from archipel.cli.archipel import command
from archipel.cli.following import News, line
from archipel.cli.names import recipe_names, run_names
from archipel.cli.rollout_reading import Batch, read_batch
from archipel.cli.run_rollouts import visible
from archipel.cli.toml import to_toml
from archipel.cli.watching import Scene, picture
from archipel.identity import Identity
from archipel.lab.garbage import needed
from archipel.lab.programmes import rl
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer
from archipel.model.versions import encode_anchor
from archipel.node.client import LabReader
from archipel.node.opening import terms_and_pace
from archipel.node.operator import describe_file, model_files
from archipel.records.documents import NodeView, RunView, Wait
from archipel.records.kinds.update import UpdateSpec
from archipel.records.statements import ModelFile, RunOpened
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Grader
from archipel.training.groups import submissions
from histories import exam, history
from live import live
from people import Learner, Provider, identity, rollout
from tiny import BATCH, NAME, SECRET, tiny_recipe
from world import World

DULL = {
    "groups": BATCH,
    "zero_advantage_groups": BATCH,
    "reward_micro": 250_000,
    "entropy_micro": 900_000,
}
VERSIONS = 7


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    write_model(folder, random_weights(config, 0), config, tokenizer)
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "lab", ledger_on_disk=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def sixth(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A run at version 6 of 7 from which nothing is learned; it is only read."""
    made = World(tmp_path_factory.mktemp("lab"), ledger_on_disk=False)
    _go_on(made, _open(made, weights), 6, **DULL)
    yield made
    made.close()


def _open(world: World, weights: Path, *, keep_versions: int = 64) -> Learner:
    """The tiny run, with its real recipe and tokenizer, at version 0."""
    recipe = tiny_recipe(VERSIONS, 1)
    terms, pace = terms_and_pace(recipe, weights)
    changed = {"keep_versions": keep_versions, "checkpoint_every": 4}
    files = [ModelFile(name=p.name, blob=world.put(p.read_bytes())) for p in model_files(weights)]
    world.speak(
        world.operator,
        RunOpened,
        run=NAME,
        recipe=world.put(recipe.canonical_bytes()),
        terms=terms.model_copy(update=changed),
        pace=pace,
        model=tuple(files),
        trusted=(identity("learner").did,),
    )
    learner = world.learner()
    _learn(learner)
    return learner


def _learn(learner: Learner, **metrics: int) -> None:
    """One piece of trusted work; an update says these metrics, an evaluation a score."""
    grant = learner.ask()
    if grant is None:
        return
    if isinstance(grant.spec, UpdateSpec):
        learner.answer(grant, metrics={"full_bytes": 4} | (metrics if grant.spec.version else {}))
    else:
        scores = {"num_tasks": 4, "greedy": 421_875, "greedy_low": 193_608, "greedy_high": 650_000}
        learner.answer(grant, metrics=scores)


def _go_on(world: World, learner: Learner, version: int, **metrics: int) -> None:
    """Until the run is at `version`, and everything that is due is evaluated."""
    provider: Provider = world.provider("node")
    for _ in range(500):
        grant = provider.ask()
        if grant is not None:
            world.tick(10)
            provider.answer(grant)
        if world.run(NAME).version < version:
            _learn(learner, **metrics)
        else:
            break
    assert world.run(NAME).version == version


def _at(world: World, *arguments: str) -> Result:
    """The command's outcome at this world's lab."""

    async def whole() -> Result:
        async with live(world) as url:
            words = [*arguments, "--lab", url]
            return await asyncio.to_thread(CliRunner().invoke, command, words)

    done = asyncio.run(whole())
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_run_is_shown_as_a_page_for_people_and_with_units_for_machines(
    sixth: World, weights: Path
) -> None:
    shown = _at(sixth, "run", "show", NAME).output
    assert f"{NAME}: running, version 6 of {VERSIONS}, opened 2027-" in shown
    assert "greedy 0.422 [0.194, 0.650]" in shown
    assert (
        "warning         nothing-to-learn: all groups of the last 6 updates had equal rewards"
        in shown
    )
    for raw in ("{", "None", "421875", "opened_at_ms"):
        assert raw not in shown
    told = json.loads(_at(sixth, "run", "show", NAME, "--json").output)
    assert told["evaluations"][0] == {
        "version": 0, "num_tasks": 4.0, "greedy": 0.421875, "greedy_low": 0.193608, "greedy_high": 0.65,
    }  # fmt: skip
    assert set(told["published_at_s"]) == {str(version) for version in range(7)}
    assert told["measured"]["entropy"] == 0.9
    assert [warning["kind"] for warning in told["warnings"]] == ["nothing-to-learn"]


def test_why_stuck_says_what_goes_wrong_beside_what_is_waited_for(
    sixth: World, weights: Path
) -> None:
    shown = _at(sixth, "run", "why-stuck").output
    assert (
        f"{NAME}: warning: nothing-to-learn: all groups of the last 6 updates had equal rewards"
        in shown
    )
    (wait, *_) = json.loads(_at(sixth, "run", "why-stuck", "--json").output)
    assert wait["run"] == NAME
    assert "equal rewards" in wait["warnings"][0]


@pytest.mark.slow
def test_watching_into_a_file_is_a_line_for_each_version_evaluation_warning_and_end(
    world: World, weights: Path
) -> None:
    learner = _open(world, weights)
    _go_on(world, learner, VERSIONS, **DULL)
    lines = _at(world, "run", "watch", NAME).output.splitlines()
    assert [line.split()[2] for line in lines[: VERSIONS + 1]] == ["version"] * (VERSIONS + 1)
    assert f"{NAME} version 3/{VERSIONS}  reward 0.25  entropy 0.9" in lines[3]
    assert f"{NAME} evaluation 0  greedy 0.422 [0.194, 0.650]" in lines[VERSIONS + 1]
    assert "warning" in lines[-2]
    ended = f" {NAME} complete {VERSIONS}, with warnings that stand: nothing-to-learn"
    assert lines[-1].endswith(ended)
    assert all(re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z ", line) for line in lines)
    told = [
        json.loads(line) for line in _at(world, "run", "watch", NAME, "--json").output.splitlines()
    ]
    kinds = [event["event"] for event in told]
    assert kinds == ["version"] * 8 + ["evaluation", "warning", "complete"]
    assert told[5]["entropy"] == 0.9
    assert all(event["at_s"] > 0 for event in told)
    assert told[-1]["warnings"] == ["nothing-to-learn"]


@pytest.mark.slow
def test_a_curve_comes_as_plot_table_lines_and_event_files(
    sixth: World, weights: Path, tmp_path: Path
) -> None:
    listed = _at(sixth, "run", "curve", NAME, "--list").output.split()
    assert listed[:2] == ["reward", "entropy"]
    assert "eval_greedy_low" in listed
    drawn = _at(sixth, "run", "curve", NAME).output
    assert f"reward  {NAME} 0.25" in drawn
    assert "eval_greedy" in drawn
    assert f"{NAME}: warning, nothing-to-learn: all groups" in drawn
    table = list(csv.DictReader(io.StringIO(_at(sixth, "run", "curve", NAME, "--csv", "-").output)))
    assert [row["reward"] for row in table] == ["", *["0.25"] * 6]
    files = {"--png": "c.png", "--jsonl": "c.jsonl", "--tensorboard": "logs"}
    options = [word for option, name in files.items() for word in (option, str(tmp_path / name))]
    assert _at(sixth, "run", "curve", NAME, *options).exit_code == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 7
    assert list((tmp_path / "logs" / NAME).glob("events.out.tfevents.*"))


def test_a_metric_that_nobody_measured_is_refused_with_the_nearest(
    sixth: World, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception, match="did you mean 'entropy'"):
        _at(sixth, "run", "curve", NAME, "--metric", "entrpy")


@pytest.mark.slow
def test_versions_that_are_listed_no_more_are_read_from_the_ledger(
    world: World, weights: Path
) -> None:
    learner = _open(world, weights, keep_versions=1)
    _go_on(world, learner, 6, reward_micro=250_000)
    assert world.run(NAME).chain[0].version == 6
    listed = _at(world, "run", "curve", NAME, "--csv", "-")
    assert "versions before 6 are listed no more" in listed.stderr
    rows = csv.DictReader(io.StringIO(listed.stdout))
    assert [row["version"] for row in rows if row["full_bytes"]] == ["6"]
    whole = _at(world, "run", "curve", NAME, "--csv", "-", "--whole").stdout
    assert [row["version"] for row in csv.DictReader(io.StringIO(whole))] == list("0123456")


def _batch(world: World, version: int | None, folder: Path) -> Batch:
    async def whole() -> Batch:
        async with live(world) as url, LabReader(url) as lab:
            return await read_batch(lab, NAME, version, folder)

    return asyncio.run(whole())


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(1, id="before a checkpoint"),
        pytest.param(4, id="a checkpoint", marks=pytest.mark.slow),
        pytest.param(6, id="newest", marks=pytest.mark.slow),
    ],
)
def test_the_rollouts_of_any_version_are_the_ones_that_its_nodes_gave(
    sixth: World, weights: Path, tmp_path: Path, version: int
) -> None:
    batch = _batch(sixth, version, tmp_path)
    expected = range((version - 1) * BATCH, version * BATCH)
    assert [group.index for group in batch.groups] == list(expected)
    for group in batch.groups:
        policy = _policy(sixth, group.version)
        rows = [rollout_of(sixth, policy, group.index, n) for n in range(8)]
        assert [each.tokens for each in group.rollouts] == [each.tokens for each in rows]
        assert group.prompt == (1, 3 + (version - 1) % 8, 3 + (group.index % BATCH) % 8)
    assert batch.recorded_reward == 0.25


def rollout_of(world: World, policy: str, group: int, number: int) -> Any:
    return rollout(rl.pace(world.run(NAME)), f"{policy}/{group}/{number}")


def _policy(world: World, version: int) -> str:
    found = [each for each in world.run(NAME).chain if each.version == version]
    return found[0].policy


@pytest.mark.slow
def test_rewards_graded_here_are_what_the_trusted_role_would_give(
    sixth: World, weights: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    words = ("run", "rollouts", NAME, "--home", str(tmp_path / "home"), "--json", "--limit", "1000")
    bare = json.loads(_at(sixth, *words).output)
    assert bare["rewards"] == "not known here"
    assert {row["reward"] for row in bare["rollouts"]} == {None}
    told = json.loads(_at(sixth, *words, "--secret-file", str(secret)).output)
    assert told["rewards"] == "graded here"
    recipe, tokenizer = tiny_recipe(VERSIONS, 1), Tokenizer.from_directory(weights)
    batch = _batch(sixth, None, tmp_path / "home")
    with Grader(recipe.environment, recipe.run.seed, SECRET) as grader:
        own = [
            r
            for g in batch.groups
            for r in grader.grade(submissions(g.index, g.rollouts, tokenizer))
        ]
    assert [row["reward"] for row in told["rollouts"]] == own
    assert told["reward_mean_here"] == pytest.approx(sum(own) / len(own))
    with pytest.raises(Exception, match="needs the secret 'secret-order'"):
        _at(sixth, *words, "--grade")


@pytest.mark.slow
def test_rollouts_can_be_searched_and_are_cut_to_a_limit(
    sixth: World, weights: Path, tmp_path: Path
) -> None:
    words = ("run", "rollouts", NAME, "--home", str(tmp_path))
    everything = json.loads(_at(sixth, *words, "--json", "--limit", "1000").output)
    assert everything["found"] == len(everything["rollouts"]) == 8 * BATCH
    row = max(everything["rollouts"], key=lambda row: len(row["completion"]))
    found = json.loads(_at(sixth, *words, "--json", "--search", row["completion"].upper()).output)
    assert row in found["rollouts"]
    assert found["found"] < 8 * BATCH
    few = _at(sixth, *words, "--limit", "3", "--group", "21").output
    assert "8 rollouts, the first 3 of them" in few
    assert "nats/token" in few


@pytest.mark.slow
def test_rollouts_that_the_lab_has_swept_are_said_to_be_gone(
    world: World, weights: Path, tmp_path: Path
) -> None:
    learner = _open(world, weights)
    _go_on(world, learner, 6, reward_micro=250_000)
    batch = _batch(world, 1, tmp_path / "before")
    assert batch.groups
    assert isinstance(world.blobs, BlobStore)
    live_now = needed(world.state)
    world.blobs.sweep(live_now, now_s=time.time() + 60.0, older_than_s=0.0, idle_s=0.0)
    with pytest.raises(Exception, match="not at the lab any more"):
        _at(world, "run", "rollouts", NAME, "--version", "1", "--home", str(tmp_path / "after"))
    assert {group.prompt for group in _batch(world, 6, tmp_path / "after").groups} == {None}
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    words = ("--version", "6", "--home", str(tmp_path / "after"), "--secret-file", str(secret))
    told = json.loads(_at(world, "run", "rollouts", NAME, *words, "--json").output)
    recipe = tiny_recipe(VERSIONS, 1)
    tasks = make_environment(recipe.environment, recipe.run.seed, None)
    assert {(row["group"], row["prompt"]) for row in told["rollouts"]} == {
        (index, tasks.task("train", index).prompt) for index in range(5 * BATCH, 6 * BATCH)
    }


def test_a_strangers_text_cannot_steer_a_terminal() -> None:
    assert visible("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert len(visible("x" * 1000)) < 400


def _run(name: str, phase: str = "running", **changed: Any) -> RunView:
    fields: dict[str, Any] = {
        "run": name,
        "programme": "rl",
        "phase": phase,
        "version": 12,
        "versions": 80,
        "recipe": "sha256:0",
        "opened_at_ms": 0,
        "published_at_ms": (1,),
        "learner_utilisation": 0.5,
        "reward": 0.25,
        "rewards": (0.125, 0.25),
        "evaluations": ({"version": 0, "greedy": 100_000}, {"version": 60, "greedy": 970_000}),
        "spent_micro": 1_500_000,
        "progress": {"groups_in_flight": 12},
    }
    return RunView(**(fields | changed))


def _node(name: str, **changed: Any) -> NodeView:
    fields: dict[str, Any] = {
        "node": f"did:key:{name:>12}", "kinds": ("rollout",), "engine": "e", "device": "cpu",
        "batch_invariant": True, "protections": (), "groups": 3, "tokens": 9, "groups_per_s": 1.5,
        "bytes_in": 1, "leases": (), "expired": 0, "returned": 0, "present": True, "silent_s": 1.0,
        "credit_micro": 5,
    }  # fmt: skip
    return NodeView(**(fields | changed))


def _drawn(scene: Scene, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height)
    with console.capture() as captured:
        console.print(picture(scene, width, height))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(40, 30), (80, 24), (160, 50)])
def test_with_many_runs_the_live_one_is_first_and_the_nodes_are_on_the_screen(
    width: int, height: int
) -> None:
    runs = [_run(f"llama-bfloat16-{n}", "complete" if n % 2 else "stopped") for n in range(11)]
    nodes = [_node(f"busy{n}", leases=("w",)) for n in range(3)]
    nodes += [_node(f"dead{n}", silent_s=9000.0) for n in range(50)]
    scene = Scene([*runs, _run("alive")], nodes, [])
    lines = _drawn(scene, width, height)
    assert lines[0].startswith("alive  running  12/80")
    assert any("greedy 0.970 @60" in line for line in lines[:3])
    shown = "\n".join(lines[:height])
    assert all(f"busy{n}" in shown for n in range(3))
    assert "dead0" not in shown
    assert "50 gone" in shown
    assert max(map(len, lines)) <= width


def test_a_warning_stands_with_its_run_in_the_live_view() -> None:
    dull = history(
        9, lambda version: {"zero_advantage_groups": 32.0, "reward": 0.0}, (exam(0, 0.1),)
    )
    wait = Wait(run="run", waiting_for="groups", owner="nobody", left_s=None, advice="wait")
    failing = _run("run", troubles=("update fails: no such file",))
    lines = _drawn(Scene([failing], [], [wait], {"run": dull}), 300, 50)
    assert "  failing: update fails: no such file" in lines
    assert any(
        "warning, nothing-to-learn: all groups of the last 9 updates had equal rewards" in line
        for line in lines
    )
    assert "  waiting: groups" in lines


def _publish_real_weights(world: World, weights: Path) -> str:
    """Version 0 of a run, as weights that anybody can load; returns their digest."""
    recipe = tiny_recipe(VERSIONS, 1)
    terms, pace = terms_and_pace(recipe, weights)
    files = [ModelFile(name=p.name, blob=world.put(p.read_bytes())) for p in model_files(weights)]
    world.speak(
        world.operator,
        RunOpened,
        run=NAME,
        recipe=world.put(recipe.canonical_bytes()),
        terms=terms,
        pace=pace,
        model=tuple(files),
        trusted=(identity("learner").did,),
    )
    learner = world.learner()
    grant = learner.ask()
    assert grant is not None
    state = {name: t.detach() for name, t in read_model(weights, torch.bfloat16).named_parameters()}
    manifest = describe(state, 0, None)
    learner.answer(
        grant,
        policy=manifest.state,
        manifest=world.put(manifest.to_bytes()),
        anchor=world.put(encode_anchor(state)),
    )
    return manifest.state


@pytest.mark.slow
def test_a_name_that_was_used_is_refused_before_anything_is_sent_and_another_is_offered(
    world: World, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "load", lambda *asked: world.operator)
    _open(world, weights)
    world.stop_run(NAME)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(tiny_recipe(3, 1).model_dump(exclude_none=True)))
    words = ("run", "open", str(recipe), "--weights", str(weights), "--trust", world.operator.did)
    size = world.lab.log.size
    with pytest.raises(
        Exception, match=r"a run tiny is there already and stopped; .* --name tiny-2"
    ):
        _at(world, *words)
    assert world.lab.log.size == size
    assert "run tiny-2 is open" in _at(world, *words, "--name", "tiny-2").output
    assert world.run("tiny-2").opened.terms.versions == 3
    with pytest.raises(Exception, match=r"--name: .*got 'Tiny!'"):
        _at(world, *words, "--name", "Tiny!")


@pytest.mark.slow
def test_a_run_can_start_from_a_version_of_an_earlier_one(
    world: World, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "load", lambda *asked: world.operator)
    _publish_real_weights(world, weights)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(tiny_recipe(3, 1).model_dump(exclude_none=True)))
    words = ("run", "open", str(recipe), "--name", "next", "--trust", world.operator.did)
    _at(world, *words, "--from", f"{NAME}@0", "--seed", "5")
    opened = world.run("next").opened
    (whole,) = [file.blob for file in opened.model if file.name == "model.safetensors"]
    assert whole.digest == describe_file(weights / "model.safetensors").digest
    assert opened.pace.seed == 5  # type: ignore[attr-defined]  # reinforcement learning's
    assert not list((tmp_path / "home" / "export").glob("tmp*"))
    with pytest.raises(Exception, match="tiny has versions 0 to 0, not 7"):
        _at(world, *words, "--from", f"{NAME}@7")
    assert _at(world, *words).exit_code == 2


def test_a_run_that_would_not_work_is_not_opened(
    world: World, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Identity, "load", lambda *asked: world.operator)
    plain = tiny_recipe(3, 1).model_dump(exclude_none=True)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(plain | {"sampling": {"max_new_tokens": 500}}))
    words = ("run", "open", str(recipe), "--weights", str(weights))
    for more in ((), ("--dry-run",)):
        with pytest.raises(
            Exception, match=r"would not work:\n.*secret.*\n.*max_new_tokens is 500"
        ):
            _at(world, *words, *more)
    assert NAME not in world.state.runs


def test_a_shell_completes_the_names_of_runs_and_recipes_and_waits_for_nobody(
    sixth: World,
) -> None:
    async def whole() -> list[str]:
        async with live(sixth) as url:
            context = click.Context(click.Command("show"))
            context.params["lab_url"] = url
            found = await asyncio.to_thread(run_names, context, click.Argument(["name"]), "ti")
            return [item.value for item in found]

    assert asyncio.run(whole()) == [NAME]
    nobody = click.Context(click.Command("show"))
    nobody.params["lab_url"] = "http://127.0.0.1:9"
    assert run_names(nobody, click.Argument(["name"]), "") == []
    recipes = recipe_names(nobody, click.Argument(["name"]), "se")
    assert [item.value for item in recipes] == ["secret-order"]


def test_runs_that_go_on_are_listed_first(world: World, weights: Path) -> None:
    world.open_run("over")
    world.stop_run("over")
    world.tick(1000)
    world.open_run("live")
    lines = _at(world, "run", "list").output.splitlines()
    assert [line.split()[0] for line in lines] == ["live", "over"]


def test_what_fails_is_told_once_and_again_when_it_says_something_else() -> None:
    news = News()

    def told(*troubles: str) -> list[str]:
        run = _run("run", troubles=troubles)
        return [line(event) for event in news.of(Scene([run], [], []), run)]

    assert told("no such file") == ["run failing 12: no such file"]
    assert told("no such file") == []
    assert told("no such file", "no secret") == ["run failing 12: no secret"]
    assert told() == []
    assert told("no such file") == ["run failing 12: no such file"]
