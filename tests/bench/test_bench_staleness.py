"""The staleness benchmark: what its arms share, and how its numbers are made."""

import math

import pytest
import torch

from archipel.bench import staleness
from archipel.bench.central import prepare
from archipel.bench.intervals import mean_if_any, mean_of_rates, mean_of_seeds
from archipel.bench.staleness import LOSSES, Plan, lag_alone, summarise, table
from archipel.records.recipe import Recipe
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer

torch.set_num_threads(1)
RECIPE = Recipe.model_validate(
    {
        "run": {"name": "small", "versions": 4, "groups_per_update": 4, "group_size": 4},
        "environment": {"name": "secret_order", "parameters": {"length": 2, "alphabet": 8}},
        "model": {
            "hidden_size": 16, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 32,
            "max_position_embeddings": 32,
        },
        "supervised": {"steps": 60, "batch_size": 32, "decay_steps": 10, "learning_rate": 1e-2},
        "sampling": {"max_new_tokens": 4},
        "optimiser": {"warmup_steps": 0},
        "evaluation": {"num_tasks": 8},
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def bench():
    return prepare(staleness._with(RECIPE, Plan(versions=4), LOSSES["ppo_clip"], 3), b"secret")


def test_age_zero_is_the_central_loop_bit_for_bit(bench):
    trainer = Trainer(bench.fresh_model(), bench.recipe)
    rewards = []
    reinforce(trainer, bench.rehearsal(), lambda report: rewards.append(report.reward_mean))
    arm = staleness.run_arm(bench, bench.recipe, "ppo_clip", 0)
    assert arm.curve == rewards
    assert arm.reward == bench.evaluate(trainer.published_state(), 4).reward


def test_every_update_learns_from_the_version_that_is_age_versions_old(bench, monkeypatch):
    seen = []
    update = Trainer.update

    def spy(trainer, groups):
        report = update(trainer, groups)
        seen.append((groups[0].policy_version, report.staleness_max))
        return report

    monkeypatch.setattr(Trainer, "update", spy)
    staleness.run_arm(bench, bench.recipe, "ppo_clip", 2)
    assert seen == [(0, 0), (0, 1), (0, 2), (1, 2)]


@pytest.mark.slow
def test_measure_gives_a_row_per_arm_and_a_table(tmp_path):
    plan = Plan(losses=("tis", "uncorrected"), ages=(0, 1), seeds=(0,), versions=2, minibatches=2)
    rows = staleness.measure(RECIPE, plan, tmp_path)
    assert [(row["loss"], row["age"]) for row in rows] == [
        ("tis", 0), ("tis", 1), ("uncorrected", 0), ("uncorrected", 1),
    ]  # fmt: skip
    assert "lag alone" in table(rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(staleness, "prepare", lambda *_: pytest.fail("measured again"))
        assert staleness.measure(RECIPE, plan, tmp_path) == rows, "nothing is measured twice"
    staleness.draw(rows, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def row(loss, age, seed, reward, **more):
    fields = {"greedy": 0.0, "diverged": False, "mismatch_kl": 0.0, "reward_before_end": {}}
    return {"loss": loss, "age": age, "seed": seed, "reward": reward} | fields | more


def test_ratios_are_paired_by_seed():
    rows = [
        row("tis", 0, 0, 0.8),
        row("tis", 4, 0, 0.4),
        row("tis", 0, 1, 0.4),
        row("tis", 4, 1, 0.2),
    ]
    old = summarise(rows)[1]
    assert (old["ratio"], old["ratio_half_width"], old["survives"]) == (0.5, 0.0, False)


def test_lag_alone_is_the_fresh_run_before_its_end():
    rows = [row("tis", 0, 0, 0.8, reward_before_end={0: 0.8, 4: 0.4}), row("tis", 4, 0, 0.1)]
    assert lag_alone(rows) == {0: 1.0, 4: 0.5}


def test_the_interval_is_students():
    interval = mean_of_seeds([1.0, 2.0, 3.0])
    mean, half = interval.mean, interval.half_width
    assert mean == 2.0
    assert half == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(mean_of_seeds([1.0]).half_width)


def test_an_interval_of_what_is_never_below_nothing_is_not_either():
    wide = mean_of_rates([100.0, 900.0])
    assert (wide.mean, wide.low) == (500.0, 0.0)
    assert wide.high == mean_of_seeds([100.0, 900.0]).high > 900
    narrow = mean_of_rates([99.0, 100.0, 101.0])
    assert narrow == mean_of_seeds([99.0, 100.0, 101.0])
    assert math.isnan(mean_of_rates([1.0]).low)
    assert str(mean_if_any([])) == "not measured yet"
