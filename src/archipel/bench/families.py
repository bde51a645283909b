"""What supervision, rewards and more supervision make of tasks that people bring, family by family.

A family and seed start from random weights. Arms, each one step that is kept: the supervised stage; reinforcement
from there as the recipe says, and as recipes said before (`EARLIER`); and, for as much processor time as
reinforcement took, more of the same supervision. Everything goes by the recipe alone, and learning is the central
loop, which a distributed run equals bit for bit at staleness 0. The alarms are those that a watcher of the run hears,
asked after every update. What it does not show: anything about large models, or that rewards beat labels.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.families_run import (
    Examined,
    Learned,
    by_labels,
    by_rewards,
    examined,
    more_labels,
)
from archipel.bench.family_tasks import FAMILIES, Family
from archipel.bench.kept import Kept
from archipel.records.recipe import Recipe

START, EARLIER, REWARDS, MORE = "supervised", "rewards, earlier recipe", "rewards", "more labels"
ARMS = (START, EARLIER, REWARDS, MORE)
BEFORE: dict[str, Any] = {
    "algorithm": {"name": "grpo", "scale_by_std": True},
    "loss": {"name": "ppo_clip", "clip_low": 0.2, "clip_high": 0.28},
    "reference": {},
    "curriculum": None,
    "optimiser": {
        "learning_rate": 7e-4,
        "beta1": 0.9,
        "beta2": 0.99,
        "warmup_steps": 5,
        "schedule": "linear",
        "final_fraction": 0.1,
    },
}
"""How the shipped recipe for tasks of this kind learned before it was changed for what is measured here."""
BEFORE_RUN = {"groups_per_update": 16, "group_size": 8}
"""And of how many rollouts at a time."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    families: tuple[str, ...] = tuple(FAMILIES)
    seeds: tuple[int, ...] = (0, 1)
    arms: tuple[str, ...] = ARMS
    supervised_steps: int | None = None
    """Before the stage settles; None: what a family says of itself."""
    updates: int = 60
    num_tasks: int = 200
    """Of the test part, at most."""
    samples: int = 4
    """Of each, for pass@k."""


QUICK = Plan(
    families=("larger", "sorted"), seeds=(0,), supervised_steps=40, updates=10, num_tasks=50, samples=4
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One arm of one family and seed."""

    family: str
    seed: int
    arm: str
    learned: Learned
    examined: Examined
    recipe: str
    """Digest of the recipe that it follows from."""


class Families:
    """One measurement in a folder of its own."""

    def __init__(
        self, recipe: Recipe, plan: Plan, folder: Path, tell: Callable[[str], None]
    ) -> None:
        """recipe: of the model, the supervised stage and reinforcement; its environment is replaced."""
        self._recipe, self._plan, self._tell = recipe, plan, tell
        self._folder = folder.absolute()
        self._kept = Kept(self._folder)

    def measure(self, on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
        """Every arm of every family and seed; those that were measured in this folder before are read."""
        torch.set_num_threads(1)
        rows: list[Row] = []
        for seed in self._plan.seeds:
            for name in self._plan.families:
                found: dict[str, Row] = {}
                for arm in self._needed():
                    found[arm] = self._arm(FAMILIES[name], seed, arm, found)
                    if arm in self._plan.arms:
                        rows.append(found[arm])
                        on_row(found[arm])
                shutil.rmtree(self._place(FAMILIES[name], seed), ignore_errors=True)
        return rows

    def recipe_of(self, family: Family, seed: int, arm: str) -> Recipe:
        """What an arm follows from."""
        base, plan = self._recipe.model_dump(), self._plan
        base["run"] |= {"seed": seed, "versions": plan.updates, "max_staleness": 0}
        base["environment"] = {
            "name": family.environment,
            "parameters": family.placed(self._folder),
        }
        base["sampling"] |= {"max_new_tokens": family.max_new_tokens, "engine": "any"}
        base["supervised"] |= {"steps": plan.supervised_steps or family.supervised_steps}
        if arm == EARLIER:
            base["run"] |= BEFORE_RUN
            base |= BEFORE
        return Recipe.model_validate(base)

    def _needed(self) -> tuple[str, ...]:
        """In this order, since each arm needs what an earlier one made."""
        return tuple(
            arm
            for arm in ARMS
            if arm in self._plan.arms
            or arm == START
            or (arm == REWARDS and MORE in self._plan.arms)
        )

    def _arm(self, family: Family, seed: int, arm: str, before: Mapping[str, Row]) -> Row:
        recipe = self.recipe_of(family, seed, arm)
        asked = {
            "kind": arm, "family": family.name, "seed": seed, "recipe": recipe.digest, "tasks": family.digest,
            "num_tasks": self._plan.num_tasks, "samples": self._plan.samples,
        }  # fmt: skip
        found = self._kept.find(asked)
        if found is None:
            self._tell(f"{family.name}, seed {seed}: {arm}")
            found = self._kept.keep(asked, self._measured(family, seed, arm, before))
        learned, marks = Learned(**found["learned"]), Examined(**found["examined"])
        return Row(family.name, seed, arm, learned, marks, recipe.digest)

    def _measured(
        self, family: Family, seed: int, arm: str, before: Mapping[str, Row]
    ) -> dict[str, Any]:
        recipe, place = self.recipe_of(family, seed, arm), self._place(family, seed)
        start = place / "start"
        out = start if arm == START else place / arm.replace(", ", "-").replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        if not start.exists():  # an earlier measurement took it away, and it comes out the same
            learned = by_labels(self.recipe_of(family, seed, START), start)
        if arm == MORE:
            budget_s = before[REWARDS].learned.processor_s
            learned = more_labels(recipe, start, out, before[START].learned, budget_s)
        elif arm != START:
            learned = by_rewards(recipe, start, out)
        marks = examined(out, recipe, self._plan.num_tasks, self._plan.samples)
        return {"learned": asdict(learned), "examined": asdict(marks)}

    def _place(self, family: Family, seed: int) -> Path:
        return self._folder / f"{family.name}-{seed}"
