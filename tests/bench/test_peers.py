"""The comparison with another trainer is fair in what can be checked without running it."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.bench import peers_setup
from archipel.bench.peers import CENTRAL, DISTRIBUTED, TRL, Arm, Judged, Setting
from archipel.bench.peers_job import (
    RESULT_FILE,
    Diary,
    Job,
    PeerFailed,
    Result,
    read_job,
    read_result,
    run_job,
    write_result,
)
from archipel.bench.peers_report import summarise, table, to_json
from archipel.bench.peers_trl import (
    CONTINUOUS,
    STATIC,
    Unlike,
    comparable,
    make_reward,
    settings,
    training_tasks,
)
from archipel.bench.processor import confined_to, tree_seconds
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import Recipe, parse_recipe
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request, prompt_ids

SECRET = b"peers"


@pytest.fixture
def recipe() -> Recipe:
    path = Path(__file__).parents[2] / "src" / "archipel" / "recipes" / "secret-order.toml"
    return parse_recipe(path.read_text())


def make_job(out: Path, recipe: Recipe, **changes: object) -> Job:
    job = Job(
        recipe=recipe.canonical_bytes().decode(),
        secret=SECRET.hex(),
        start="start",
        out=str(out),
        updates=7,
        snapshot_every=5,
        threads=1,
        variant="dynamic",
    )
    return replace(job, **changes)  # type: ignore[arg-type]  # the caller names fields


def make_arm(name: str, seed: int, seconds: float, greedy: tuple[float, ...]) -> Arm:
    num = len(greedy) - 1
    points = tuple((n, seconds * n / num, 2 * seconds * n / num) for n in range(1, num + 1))
    judged = tuple(Judged(n, seconds * n / num, value, value) for n, value in enumerate(greedy))
    result = Result("software", 1.0, 2.0, points, (0.5,) * num)
    return Arm(seed, name, Setting(1), result, judged, 0.5)


def test_every_number_of_the_recipe_reaches_the_other_trainer(recipe: Recipe) -> None:
    given = settings(recipe, make_job(Path("out"), recipe))
    optimiser = recipe.optimiser
    assert given["learning_rate"] == optimiser.learning_rate
    assert (given["adam_beta1"], given["adam_beta2"]) == (optimiser.beta1, optimiser.beta2)
    assert (given["adam_epsilon"], given["weight_decay"]) == (
        optimiser.epsilon,
        optimiser.weight_decay,
    )
    assert given["max_grad_norm"] == optimiser.clip_norm
    assert (given["epsilon"], given["epsilon_high"]) == (
        recipe.loss.clip_low,
        recipe.loss.clip_high,
    )
    assert given["per_device_train_batch_size"] == 32 * 8
    assert given["num_generations"] == 8
    assert given["max_steps"] == 7
    assert given["max_completion_length"] == recipe.sampling.max_new_tokens
    assert given["temperature"] == recipe.sampling.temperature
    assert given["beta"] == 0.0
    assert given["scale_rewards"] == "group"


def test_variants_change_how_it_samples_and_nothing_else(recipe: Recipe) -> None:
    plain = settings(recipe, make_job(Path("out"), recipe))
    for variant, key in (
        (STATIC, "cache_implementation"),
        (CONTINUOUS, "use_transformers_continuous_batching"),
    ):
        other = settings(recipe, make_job(Path("out"), recipe, variant=variant))
        assert {name for name in plain if plain[name] != other[name]} == {key}


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("algorithm", {"name": "rloo"}, "algorithm.name"),
        ("optimiser", {"minibatches": 2}, "optimiser.minibatches"),
    ],
)
def test_a_recipe_without_counterpart_is_refused(
    recipe: Recipe, section: str, change: dict[str, object], named: str
) -> None:
    comparable(recipe)
    unlike = recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=change)})
    with pytest.raises(Unlike, match=named):
        comparable(unlike)


def test_every_arm_runs_the_loss_that_both_trainers_have(recipe: Recipe) -> None:
    loss = recipe.loss.model_copy(update={"name": "trust_region", "clip_low": 0.1})
    changed = comparable(recipe.model_copy(update={"loss": loss}))
    assert (changed.loss.name, changed.loss.clip_low) == ("ppo_clip", 0.1)
    assert changed.model_copy(update={"loss": recipe.loss}) == recipe


def test_both_trainers_see_the_same_prompts_in_the_same_order(recipe: Recipe) -> None:
    environment = make_environment(recipe.environment, 0, SECRET)
    tokenizer = character_tokenizer()
    theirs = training_tasks(recipe, environment, updates=2)
    ours = [group_request(recipe, environment, tokenizer, index) for index in range(64)]
    assert [prompt_ids(tokenizer, task.prompt) for task in theirs] == [each.prompt for each in ours]


def test_both_trainers_get_the_same_rewards(recipe: Recipe) -> None:
    environment = make_environment(recipe.environment, 0, SECRET)
    tokenizer = character_tokenizer()
    end = tokenizer.eos_id
    assert end is not None
    tasks = training_tasks(recipe, environment, updates=1)
    diary = Diary()
    reward = make_reward(environment, tasks, end, diary)
    texts = [task.prompt.rstrip("=") for task in tasks[:8]]
    for finished in (True, False):
        ids = [[*tokenizer.encode(text), *([end] if finished else [])] for text in texts]
        got = reward(completions=texts, completion_ids=ids, index=list(range(8)), prompts=[])
        assert got == [
            environment.grade(task, text, finished)
            for task, text in zip(tasks, texts, strict=False)
        ]
    assert diary.rewards[0] > 0.0
    assert diary.rewards[1] == 0.0


def test_what_is_written_for_the_judge_is_outside_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("archipel.bench.peers_job.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("archipel.bench.peers_job.time.process_time", lambda: now[0] / 2)

    def passes(seconds: float) -> None:
        now[0] += seconds

    diary = Diary()
    passes(100.0)
    diary.begin()
    passes(1.0)
    diary.updated(1, lambda: passes(50.0))
    passes(2.0)
    diary.updated(2, None)
    assert diary.points == [(1, 1.0, 0.5), (2, 3.0, 1.5)]


def test_a_job_survives_the_journey(recipe: Recipe, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", recipe)
    with pytest.raises(PeerFailed, match="ended with code 1"):
        run_job(Path(sys.executable), "archipel.bench.no_such_module", job, {})
    assert read_job(tmp_path / "job" / "job.json") == job


def test_a_result_survives_the_journey(recipe: Recipe, tmp_path: Path) -> None:
    result = make_arm(TRL, 0, 3.0, (0.0, 1.0)).result
    write_result(make_job(tmp_path, recipe), result)
    assert read_result(json.loads((tmp_path / RESULT_FILE).read_text())) == result


@pytest.mark.slow
def test_a_trainer_that_fails_is_quoted(recipe: Recipe, tmp_path: Path) -> None:
    job = replace(make_job(tmp_path / "job", recipe), recipe="{}")
    with pytest.raises(PeerFailed, match="InvalidRecipe: run: Field required"):
        run_job(Path(sys.executable), "archipel.bench.peers_central", job, {})


def test_the_time_to_an_accuracy_is_that_of_the_first_judgement_there() -> None:
    arm = make_arm(TRL, 0, 30.0, (0.0, 0.5, 0.95, 0.9))
    assert arm.seconds_to(0.9) == 20.0
    assert arm.seconds_to(0.0) == 0.0
    assert arm.seconds_to(0.99) is None
    assert (arm.train_s, arm.cpu_s) == (30.0, 60.0)


def test_ratios_are_paired_by_seed_and_absences_counted() -> None:
    arms = [
        make_arm(TRL, 0, 30.0, (0.0, 0.5, 1.0)),
        make_arm(CENTRAL, 0, 10.0, (0.0, 1.0, 1.0)),
        make_arm(DISTRIBUTED, 0, 15.0, (0.0, 0.1, 0.2)),
        make_arm(DISTRIBUTED, 1, 5.0, (0.0, 0.1, 1.0)),
        make_arm(CENTRAL, 1, 20.0, (0.0, 1.0, 1.0)),
        make_arm(TRL, 1, 20.0, (0.0, 0.5, 1.0)),
    ]
    theirs, central, distributed = summarise(arms, 0.9)
    assert theirs.train_ratio is None
    assert central.train_ratio is not None
    assert central.train_ratio.mean == pytest.approx((3.0 + 1.0) / 2)
    assert central.target_ratio is not None
    assert central.target_ratio.mean == pytest.approx((30 / 5 + 20 / 10) / 2)
    assert (central.num_reached, distributed.num_reached) == (2, 1)
    assert distributed.target_ratio is not None
    assert distributed.target_ratio.num_seeds == 1
    assert "reached by 1 of 2" in table(arms, 0.9)
    json.dumps(to_json(arms, 0.9, {"central": 0.1}))


def test_a_folder_that_is_not_this_environment_is_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "documents"
    stranger.mkdir()
    (stranger / "letter.txt").write_text("dear")
    with pytest.raises(peers_setup.PeerUnavailable, match="no virtual environment"):
        peers_setup.peer_python(stranger)
    outdated = tmp_path / "outdated"
    outdated.mkdir()
    (outdated / peers_setup.MARKER).write_text("trl==0.1\n")
    with pytest.raises(peers_setup.PeerUnavailable, match="other pins"):
        peers_setup.peer_python(outdated)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        peers_setup.MARKER,
        "documents",
        "letter.txt",
        "outdated",
    ]


def test_a_failed_installation_is_quoted_and_not_taken_for_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_setup.venv, "create", lambda folder, with_pip: folder.mkdir())
    monkeypatch.setattr(
        peers_setup.subprocess,
        "run",
        lambda *_, **__: subprocess.CompletedProcess([], 1, stdout="first\nno such version\n"),
    )
    with pytest.raises(peers_setup.PeerUnavailable, match="no such version"):
        peers_setup.peer_python(tmp_path / "venv")
    assert not (tmp_path / "venv" / peers_setup.MARKER).exists()


def test_an_environment_that_was_made_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[tuple[str, ...]] = []
    monkeypatch.setattr(peers_setup.venv, "create", lambda folder, with_pip: folder.mkdir())
    monkeypatch.setattr(peers_setup, "_install", lambda python, what: installed.append(what))
    first = peers_setup.peer_python(tmp_path / "venv")
    assert installed == [(peers_setup.TORCH,), (peers_setup.TORCH, *peers_setup.PINS)]
    assert peers_setup.peer_python(tmp_path / "venv") == first
    assert len(installed) == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_processor_time_of_children_is_counted() -> None:
    before = tree_seconds()
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        spent = tree_seconds() - before
        child.communicate(b"\n")
    assert not math.isnan(spent)
    assert spent >= 0.15  # kernel ticks are hundredths, and the start is not free


def test_cores_are_given_back() -> None:
    with confined_to(1) as outer:
        with confined_to(64) as inner:
            assert inner == outer
        assert outer >= 1
    with confined_to(64) as all_cores:
        assert all_cores >= outer
