"""The cost of distribution is counted over like runs; figures of time are never asserted."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.bench.overhead import CENTRAL, DISTRIBUTED, Arm, Expense, OverheadPlan
from archipel.bench.overhead_report import summarise, table, to_json
from archipel.bench.overhead_sizes import of_size
from archipel.cli.doors import child_environment
from archipel.model.config import DecoderConfig
from archipel.model.network import random_weights
from archipel.model.tokenizer import tokenizer_named
from archipel.records.recipe import Recipe, parse_recipe
from tiny import tiny_recipe

MOST_REQUESTS = 8
"""An update, in steady state."""


@pytest.fixture
def shipped() -> Recipe:
    path = Path(__file__).parents[2] / "src" / "archipel" / "recipes" / "secret-order.toml"
    return parse_recipe(path.read_text())


def run(folder: Path, plan: OverheadPlan) -> list[Arm]:
    recipe = tiny_recipe(plan.updates, plan.staleness)
    lease = recipe.lease.model_copy(update={"max_groups": 64})
    few_steps = recipe.model_copy(update={"lease": lease})
    expense = Expense(few_steps, plan, folder, Path(sys.executable), child_environment())
    return expense.measure(lambda arm: None)


@pytest.mark.slow
def test_a_run_over_a_lab_needs_few_requests_an_update(tmp_path: Path) -> None:
    plan = OverheadPlan(seeds=(0,), updates=80, warm_up=6)
    central, distributed = run(tmp_path, plan)
    assert (central.arm, distributed.arm) == (CENTRAL, DISTRIBUTED)
    assert central.updates == plan.updates - plan.warm_up >= distributed.updates > 0
    assert 0 < distributed.requests_per_update <= MOST_REQUESTS
    assert set(distributed.requests) >= {"POST /records"}
    assert set(distributed.cpu_s) == {
        "lab", "update: agent", "update: child", "update: grader", "nodes: agent", "nodes: child",
    }  # fmt: skip
    assert distributed.bytes > 0


@pytest.mark.slow
def test_without_staleness_both_ways_end_at_the_same_weights(tmp_path: Path) -> None:
    plan = OverheadPlan(seeds=(3,), updates=30, warm_up=1, staleness=0, with_weights=True)
    arms = run(tmp_path, plan)
    assert summarise(arms).equal_weights == 1
    assert "equal final weights in 1 of 1" in table(arms)


def made_up(seed: int, arm: str, seconds: float) -> Arm:
    parts = {CENTRAL: seconds} if arm == CENTRAL else {"lab": seconds / 4, "rest": seconds * 3 / 4}
    requests = {"POST /records": 30.0, "POST /leases": 10.0}
    return Arm(seed, arm, 10, parts, {} if arm == CENTRAL else requests, 5000.0, None, 1.0)


def test_ratios_are_paired_by_seed_and_parts_add_up() -> None:
    arms = [
        made_up(0, CENTRAL, 1.0), made_up(0, DISTRIBUTED, 2.0),
        made_up(1, DISTRIBUTED, 6.0), made_up(1, CENTRAL, 3.0),
    ]  # fmt: skip
    summary = summarise(arms)
    assert (summary.ratio.mean, summary.ratio.half_width) == (2.0, 0.0)
    assert sum(part.mean for part in summary.parts_ms.values()) == pytest.approx(400.0)
    assert summary.requests.mean == 4.0
    assert summary.routes["POST /records"].mean == 3.0
    assert summary.equal_weights is None
    assert to_json(arms)["arms"][1]["requests"] == {"POST /records": 30.0, "POST /leases": 10.0}


def test_what_was_stopped_shows_the_arms_that_there_are() -> None:
    assert "nothing was measured" in table([])
    lone = made_up(0, DISTRIBUTED, 2.0)
    assert "not measured yet" in table([lone])
    assert summarise([lone]).requests.mean == 4.0
    both = [lone, made_up(1, CENTRAL, 1.0), made_up(1, DISTRIBUTED, 2.0)]
    assert summarise(both).ratio.num_seeds == 1


def test_arms_that_a_folder_has_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stopped the measurement; and nothing that the attempt before left is in the way of the next one."""
    ran: list[tuple[str, int]] = []

    def way(name: str):
        def run(self: Expense, recipe: Recipe, start: Path) -> Arm:
            (start.parent / f"{name}-{recipe.run.seed}").mkdir(parents=True)
            if len(ran) == stop_at:
                raise KeyboardInterrupt
            ran.append((name, recipe.run.seed))
            return made_up(recipe.run.seed, name, 1.0)

        return run

    monkeypatch.setattr(
        Expense,
        "_run",
        lambda self, way, seed: way(self._with_seed(self._recipe, seed), self._folder / "start"),
    )
    monkeypatch.setattr(Expense, "_central", way(CENTRAL))
    monkeypatch.setattr(Expense, "_distributed", way(DISTRIBUTED))
    plan, stop_at = OverheadPlan(seeds=(0, 1)), 3
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, plan)
    stop_at = 9
    arms = run(tmp_path, plan)
    assert ran == [(arm.arm, arm.seed) for arm in arms]
    assert len(arms) == 4
    assert run(tmp_path, plan) == arms
    assert len(run(tmp_path, replace(plan, warm_up=2))) == 4
    assert len(ran) == 8, "another plan, another step"


def test_weights_that_differ_are_said_to() -> None:
    arms = [replace(made_up(0, arm, 1.0), weights=arm) for arm in (CENTRAL, DISTRIBUTED)]
    assert summarise(arms).equal_weights == 0


def test_the_large_size_has_about_thirty_million_weights(shipped: Recipe) -> None:
    large = of_size(shipped, "30m")
    config = DecoderConfig.from_section(large.model, tokenizer_named(large.model.tokenizer))
    num_weights = sum(each.numel() for each in random_weights(config, 0).parameters())
    assert 27e6 < num_weights < 33e6
    assert of_size(shipped, "demo") is shipped
    assert of_size(shipped, "demo", 7).run.groups_per_update == 7
    assert of_size(shipped, "30m", 512).run.groups_per_update == 512
    Recipe.model_validate(large.model_dump(mode="json"), strict=False)
