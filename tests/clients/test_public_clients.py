"""Unmodified public clients and recipes against a door that runs as a process of its own.

`make test-clients` makes their environment; ARCHIPEL_CLIENTS_PYTHON names its Python, and beside it lie older versions.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.doors import Door, opened

HERE = Path(__file__).parent
CLIENTS = os.environ.get("ARCHIPEL_CLIENTS_PYTHON", "")  # noqa: TID251  of these tests alone
VERSIONS = ("newest", "0.22.7", "0.16.1")
"""The newest that installs; the first kind of protobuf; before protobuf."""
LOSSES = {"importance_sampling", "ppo", "cispo", "dro"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not CLIENTS, reason="the clients' environment is not there: make test-clients"
    ),
]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and data sets by the names that the recipes ask a hub for."""
    folder = tmp_path_factory.mktemp("stand")
    tests = str(HERE.parent)
    source = str(HERE.parents[1] / "src")
    subprocess.run(
        [sys.executable, "-m", "clients.stand", str(folder)],
        check=True,
        timeout=600,
        env=os.environ  # noqa: TID251  a program of its own
        | {"PYTHONPATH": os.pathsep.join([source, tests])},
    )
    return folder


@pytest.fixture(scope="module")
def door(stand: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(stand, tmp_path_factory.mktemp("door")) as found:
        yield found


def run(
    stand: Path, door: Door, arguments: list[str], version: str = "newest", limit_s: float = 600.0
) -> str:
    """What a public program says, in its own environment, without a network."""
    older = Path(CLIENTS).parents[1] / "older" / version
    env = {
        **{
            name: value
            for name, value in os.environ.items()  # noqa: TID251  a program of its own
            if not name.startswith("TINKER_")
        },
        "TINKER_API_KEY": door.key,
        "TINKER_BASE_URL": door.url,
        "TINKER_TELEMETRY": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(stand / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(older) if version != "newest" else "",
    }
    done = subprocess.run(
        [CLIENTS, *arguments], cwd=stand, env=env, capture_output=True, text=True, timeout=limit_s
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def last_line(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_conversation(stand: Path, door: Door, version: str) -> None:
    said = run(stand, door, [str(HERE / "conversation.py"), door.url, door.model], version)
    told = last_line(said)
    assert told["info"] == {"lora_rank": 8, "model_name": door.model}
    assert door.model in told["models"]
    assert told["curve"][0] == pytest.approx(told["before"], abs=1e-5)
    assert told["curve"][-1] < told["curve"][0] / 2
    assert "loss:sum" in told["metrics"]
    assert len(told["said"]) == 4
    assert any("boxed" in text for text in told["said"])
    assert all(told["same_seed_same"])
    assert any("stop" in each.lower() for each in told["stops"])
    assert told["first_prompt_logprob"] is None
    assert told["sampled_against_scored"] < 2e-3
    assert set(told["losses"]) >= LOSSES
    assert told["custom"]["custom"] > 0
    assert told["restored_equal"]
    assert told["step_after_restoring_equal"]
    assert (told["named_sampler_said"], told["base_sampler_said"]) == (2, 2)
    assert set(told["paths"]) <= set(told["listed"])
    assert told["weights_info"] == door.model
    assert told["paths"][0] not in told["after_deleting"]
    assert told["paths"][1] in told["after_deleting"]
    assert "archive" in told["left_out"] or told["archive"].startswith("http")


@pytest.mark.parametrize("version", VERSIONS)
def test_faults_are_told_in_the_clients_own_errors(stand: Path, door: Door, version: str) -> None:
    run(stand, door, [str(HERE / "conversation.py"), door.url, door.model], version)
    others = "tinker://somebody-elses/weights/kept"
    said = run(stand, door, [str(HERE / "faults.py"), door.url, door.model, others], version)
    told = last_line(said)
    expected = {
        "BadRequestError",
        "NotFoundError",
        "UnprocessableEntityError",
        "RequestFailedError",
    }
    for name, (kind, sentence) in told.items():
        assert kind in expected | {"ValueError"}, (name, kind, sentence)
        assert len(sentence) > 20, (name, sentence)


def metrics(folder: Path, name: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[name] for line in lines if name in json.loads(line)]


def recipe(stand: Path, door: Door, module: str, **options: object) -> Path:
    folder = stand / "logs" / re.sub(r"\W", "-", module)
    chosen = {"model_name": door.model, "base_url": door.url, "log_path": folder, **options}
    told = [f"{name}={value}" for name, value in chosen.items()]
    run(stand, door, ["-m", f"tinker_cookbook.recipes.{module}", *told])
    return folder


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_supervised_loop_learns(stand: Path, door: Door) -> None:
    folder = recipe(
        stand,
        door,
        "sl_loop",
        batch_size=8,
        max_steps=16,
        learning_rate=2e-3,
        lora_rank=8,
        save_every=8,
    )
    losses = metrics(folder, "train_mean_nll")
    assert len(losses) == 16
    assert mean(losses[-4:]) < mean(losses[:2]) - 0.1


def test_the_loop_of_a_verifiable_task_earns_more(stand: Path, door: Door) -> None:
    folder = recipe(
        stand, door, "rl_loop",
        batch_size=8, group_size=16, max_steps=30, learning_rate=1.5e-3, lora_rank=8, max_tokens=10, save_every=8,
    )  # fmt: skip
    rewards = metrics(folder, "reward/total")
    assert len(rewards) == 30
    assert mean(rewards[-6:]) > mean(rewards[:6]) + 0.07, rewards


def test_preferences_are_learned(stand: Path, door: Door) -> None:
    folder = recipe(
        stand, door, "preference.dpo.train",
        batch_size=8, max_steps=10, learning_rate=1e-3, max_length=512, behavior_if_log_dir_exists="delete",
    )  # fmt: skip
    losses = metrics(folder, "dpo_loss")
    assert mean(losses[-3:]) < mean(losses[:2])


def test_a_student_comes_nearer_to_its_teacher(stand: Path, door: Door) -> None:
    folder = recipe(
        stand, door, "distillation.on_policy_distillation",
        teacher_model=door.model, groups_per_batch=4, group_size=2, max_tokens=10, lora_rank=8, max_steps=4,
        learning_rate=1e-3, eval_every=0, save_every=2, behavior_if_log_dir_exists="delete",
    )  # fmt: skip
    assert len(metrics(folder, "teacher_kl")) == 4
