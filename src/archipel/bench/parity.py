"""Does the distributed run learn what the centralised one learns, from as many samples?

Arm (a) is `training.rl.reinforce` in one process. Arm (b) is the same recipe through a real lab, an
update process and four real node processes with unequal speeds and latencies, one of which is killed
and comes back, for each staleness bound S. Same start, tasks, noise and number of samples in every arm
of a seed. At S = 0 the weights must be equal bit for bit.
What it does not show: one tiny model on one task; loopback with injected latency is no internet.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.bench.central import Bench, Skill, prepare
from archipel.bench.kept import Kept
from archipel.bench.site import Site, SiteFailed
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.records.recipe import Recipe
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer

NODES: dict[str, list[str]] = {
    "near": [],
    "far": ["--latency", "0.1"],
    "slow": ["--duty", "0.4", "--latency", "0.02"],
    "frail": ["--duty", "0.7", "--latency", "0.05"],
}
"""`frail` is killed at a third of every run and started again at half."""
KILL_AT, RETURN_AT = 1 / 3, 1 / 2
RUN_LIMIT_S = 600.0
CENTRAL = "central"


@dataclass(frozen=True)
class ParityPlan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    staleness: tuple[int, ...] = (0, 1, 2, 4)
    versions: int = 160
    """Long enough to converge: a final reward that still rises compares lags, not learning."""
    loss: str | None = None
    """Instead of the recipe's own."""
    learning_rate: float | None = None
    """Instead of the recipe's own."""


PUBLISHED = ParityPlan(loss="trust_region", learning_rate=5e-4)
"""What docs/experiments/LOG.md has measured, with the recipe secret-order."""
QUICK = replace(PUBLISHED, seeds=(0, 1), staleness=(0, 2), versions=40)


@dataclass(frozen=True)
class Arm:
    """One run."""

    seed: int
    arm: str
    """`central`, or `S=<bound>`."""
    reward: float
    """Mean reward of one sampled completion per held-out task under the final weights."""
    greedy: float
    curve: tuple[float, ...]
    """Mean reward of the batch of each update."""
    digest: str
    """Of the final weights."""
    samples: int
    staleness: Mapping[str, int]


def replaced(recipe: Recipe, plan: ParityPlan) -> list[str]:
    """What is not measured as the recipe has it, a line each."""
    changes = {
        "run.versions": (recipe.run.versions, plan.versions),
        "loss.name": (recipe.loss.name, plan.loss or recipe.loss.name),
        "optimiser.learning_rate": (
            recipe.optimiser.learning_rate, plan.learning_rate or recipe.optimiser.learning_rate
        ),
    }  # fmt: skip
    return [
        f"{key} = {used} instead of the recipe's {own}"
        for key, (own, used) in changes.items()
        if used != own
    ]


def measure(
    recipe: Recipe, plan: ParityPlan, folder: Path, environment: Mapping[str, str],
    on_arm: Callable[[Arm], None],
) -> list[Arm]:  # fmt: skip
    """Run every arm of every seed; one lab and one set of nodes serves all of them.

    Arms that this folder already has are not run again.
    """
    torch.set_num_threads(1)
    kept, arms = Kept(folder), list[Arm]()
    bounds = [None, *plan.staleness]
    with contextlib.ExitStack() as stack:
        site: Site | None = None
        for seed in plan.seeds:
            found = {bound: kept.find(_asked(recipe, plan, seed, bound)) for bound in bounds}
            if None in found.values():
                site = site or _site(stack, folder, environment)
                runs = _Seed(recipe, plan, seed, site)
            for bound in bounds:
                asked = _asked(recipe, plan, seed, bound)
                arm = found[bound] or kept.keep(asked, asdict(runs.arm(bound)))
                arms.append(Arm(**arm | {"curve": tuple(arm["curve"])}))
                on_arm(arms[-1])
    return arms


def _asked(recipe: Recipe, plan: ParityPlan, seed: int, bound: int | None) -> dict[str, Any]:
    """What decides an arm's result; bound None: the centralised one."""
    arm = CENTRAL if bound is None else f"S={bound}"
    form = _with(recipe, seed, bound or 0, plan, "parity")
    return {"part": "parity", "arm": arm, "seed": seed, "recipe": form.digest}


def _site(stack: contextlib.ExitStack, folder: Path, environment: Mapping[str, str]) -> Site:
    """A lab, an update process and nodes, in a folder that no attempt had before."""
    number = 1 + len(list(folder.glob("site-*")))
    site = stack.enter_context(Site(folder / f"site-{number}", environment))
    site.start_lab()
    site.start_update()
    for name, options in NODES.items():
        site.start_node(name, options)
    return site


class _Seed:
    """The arms of one seed: the same start, tasks and noise."""

    def __init__(self, recipe: Recipe, plan: ParityPlan, seed: int, site: Site) -> None:
        self._recipe, self._plan, self._seed, self._site = recipe, plan, seed, site
        self._secret = b"parity %d" % seed
        self._bench = prepare(_with(recipe, seed, 0, plan, CENTRAL), self._secret)
        self._start = site.folder / f"start-{seed}"
        write_model(self._start, self._bench.start, self._bench.config, self._bench.tokenizer)

    def arm(self, bound: int | None) -> Arm:
        """Run one; None: the centralised one."""
        if bound is None:
            return _central(self._bench, self._start, self._seed)
        name = f"parity-{self._seed}-s{bound}"
        self._site.keep_secret("update", name, self._secret)
        chosen = _with(self._recipe, self._seed, bound, self._plan, name)
        return _distributed(self._site, self._bench, chosen, self._start)


def _with(recipe: Recipe, seed: int, bound: int, plan: ParityPlan, name: str) -> Recipe:
    run = recipe.run.model_copy(
        update={"name": name, "seed": seed, "max_staleness": bound, "versions": plan.versions}
    )
    environment = recipe.environment.model_copy(update={"secret": name})
    loss, rate = plan.loss, plan.learning_rate
    changes = {
        "run": run,
        "environment": environment,
        "evaluation": recipe.evaluation.model_copy(update={"every": plan.versions}),
        "loss": recipe.loss.model_copy(update={"name": loss}) if loss else recipe.loss,
        "optimiser": recipe.optimiser.model_copy(update={"learning_rate": rate})
        if rate is not None
        else recipe.optimiser,
    }
    return recipe.model_copy(update=changes)


def _central(bench: Bench, start: Path, seed: int) -> Arm:
    curve: list[float] = []
    trainer = Trainer(read_model(start), bench.recipe)
    reinforce(trainer, bench.rehearsal(), lambda report: curve.append(report.reward_mean))
    state = trainer.published_state()
    return _arm(
        bench, seed, CENTRAL, state, curve, {"0": len(curve) * bench.recipe.run.groups_per_update}
    )


def _distributed(site: Site, bench: Bench, recipe: Recipe, start: Path) -> Arm:
    name = recipe.run.name
    site.open_run(recipe, start, ("update",))
    _churn(site, name, recipe.run.versions)
    run = site.run(name)
    if run is None:
        raise SiteFailed("the lab does not answer after the run's end")
    out = site.folder / f"final-{name}"
    site.fetch_weights(name, None, out)
    named = read_model(out).named_parameters()
    state = {key: value.detach().to(torch.bfloat16) for key, value in named}
    arm = f"S={recipe.run.max_staleness}"
    return _arm(bench, recipe.run.seed, arm, state, run.rewards, run.progress["staleness"])


def _churn(site: Site, name: str, versions: int) -> None:
    """Kill `frail` mid-run and bring it back; wait for the end."""
    reached = lambda share: lambda: _version(site, name) >= share * versions  # noqa: E731  reads as a word
    site.wait_until(reached(KILL_AT), f"a third of {name}", RUN_LIMIT_S)
    site.kill("frail")
    site.wait_until(reached(RETURN_AT), f"half of {name}", RUN_LIMIT_S)
    site.start_node("frail", NODES["frail"])
    site.wait_until(reached(1.0), f"the end of {name}", RUN_LIMIT_S)


def _version(site: Site, name: str) -> int:
    run = site.run(name)
    return -1 if run is None else run.version


def _arm(
    bench: Bench, seed: int, arm: str, state: Mapping[str, Tensor], curve: Sequence[float],
    staleness: Mapping[str, int],
) -> Arm:  # fmt: skip
    skill: Skill = bench.evaluate(state, bench.recipe.run.versions)
    run = bench.recipe.run
    digest = describe(state, run.versions, None).state
    samples = len(curve) * run.groups_per_update * run.group_size
    return Arm(
        seed, arm, skill.reward, skill.greedy, tuple(curve), digest, samples, dict(staleness)
    )
