"""How soon each cheat of `bench.cheats` is found in exact mode, and how often an honest node is accused.

Parts: `Plan`, `detection` (of one cheat, in a `bench.court`), `measure` and `result`; honest answers are made and
audited in processes of their own (`bench.honest_sides`). An answer is one group; units of work are `bench.reckoning`'s.
What it does not show: other models, where weaker nudges may stay unseen longer; waiting for auditors.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from archipel.bench.cheats import CHEATS
from archipel.bench.court import Court, Policy, trained
from archipel.bench.honest_sides import checked, parts
from archipel.bench.intervals import exact_share
from archipel.bench.kept import Asked, Kept
from archipel.bench.reckoning import KNOWN, Rules, lives, mean_units
from archipel.bench.spoiling import ARMS, rows
from archipel.bench.tasks import Task, Tell, carry_out, rows_of
from archipel.records.recipe import Recipe

HONEST, SPOILED = "honest", "spoiled"
PARTS = ("honest", "cheats", "learning")


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    updates: int = 8
    """Versions that the policy has behind it; cheats use up to 5 of them."""
    answers: int = 64
    """Of each cheat, audited one by one."""
    audits: int = 10_000
    """Of honest answers."""
    variants: tuple[str, ...] = ("w7a8", "w13a15")
    shares: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    trials: int = 200
    """Simulated nodes behind each mean."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of runs in which a third of the nodes cheats."""
    spoiled: int = 80
    """Versions of these runs."""
    parts: tuple[str, ...] = ()
    """Names of `PARTS`; none: all."""
    part: int = 500
    """Honest audits of one kept step."""
    seed: int = 0


QUICK = Plan(
    updates=6, answers=8, audits=400, variants=("w7a8",), trials=40, seeds=(0,), spoiled=40, part=200
)  # fmt: skip


def detection(court: Court, way: str, variant: str, answers: int) -> dict[str, Any]:
    """How many answers made this way are refused at the door, and found different by an audit."""
    court.sit(variant)
    requests = court.requests(0, answers)
    made = CHEATS[way](court.forger, requests)
    honest = court.forger.sampled(requests)
    refused = detected = same = 0
    by: dict[str, int] = {}
    for request, group, right in zip(requests, made, honest, strict=True):
        if court.refused(request, [group]):
            refused += 1
        elif (what := court.differs(request, [group])) is not None:
            detected += 1
            by[what] = by.get(what, 0) + 1
        elif group == right:
            same += 1  # what it came to is what was asked: nobody was harmed
    return {
        "way": way, "variant": variant, "answers": answers, "refused": refused,
        "detected": detected, "same_bits": same, "by": by,
    }  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where it is measured, and what by."""

    folder: Path
    recipe: Recipe
    environment: Mapping[str, str]
    """Of processes of its own."""
    tell: Tell = lambda text: None


def tasks(plan: Plan, place: Place) -> list[Task]:
    """Of each variant: every cheat, and honest audits in parts. The policy is trained when the first is asked for."""

    @cache
    def policy() -> Policy:
        return trained(place.recipe, plan.updates, plan.seed, place.folder, place.tell)

    def cheating(steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        court = Court(policy())
        for step in steps:
            yield [detection(court, step["way"], step["variant"], step["answers"])]

    def right(steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        newest = policy().newest
        for step in steps:
            given = newest, policy().recipe, place.folder / "honest", place.environment
            yield [checked(step, *given)]

    part = place.recipe.audit.part  # a default of which no digest speaks
    by = {
        "recipe": place.recipe.digest,
        "updates": plan.updates,
        "seed": plan.seed,
        "looked_at": part,
    }
    found = [_learning(plan, place)]
    for variant in plan.variants:
        own = by | {"variant": variant}
        share = plan.audits // len(plan.variants)
        honest = tuple({**own, "way": HONEST, **each} for each in parts(share, plan.part))
        ways = tuple({**own, "way": way, "answers": plan.answers} for way in CHEATS)
        found += [Task(f"cheats, {variant}", ways, cheating), Task(f"honest, {variant}", honest, right)]  # fmt: skip
    return [task for task in found if not plan.parts or task.what.partition(",")[0] in plan.parts]


def _learning(plan: Plan, place: Place) -> Task:
    """Runs in which a third of the nodes cheats, and the same without."""

    def run(steps: Sequence[Asked]) -> Iterator[list[dict[str, Any]]]:
        for step in steps:
            yield [{"way": SPOILED, **row} for row in rows(place.recipe, step["seed"], plan.spoiled, step["arm"])]  # fmt: skip

    by = {"recipe": place.recipe.digest, "way": SPOILED, "versions": plan.spoiled}
    steps = tuple({**by, "seed": seed, "arm": arm} for seed in plan.seeds for arm in ARMS)
    return Task("learning", steps, run)


def measure(plan: Plan, place: Place) -> None:
    """Run what the folder does not have yet.

    Raises:
        NotOurs: the folder has another's steps.
        JobFailed: a process under other instructions ended badly.
    """
    carry_out(tasks(plan, place), Kept(place.folder), place.tell)


def result(plan: Plan, place: Place) -> dict[str, Any]:
    """What the folder has of the plan, ready for JSON."""
    recipe = place.recipe
    every = rows_of(tasks(plan, place), Kept(place.folder))
    accused = [row for row in every if row["way"] == HONEST]
    audits, wrong = sum(row["audits"] for row in accused), sum(row["accused"] for row in accused)
    pairs = {(*row["maker"], *row["auditor"]) for row in accused}
    audit, price_micro = recipe.audit, recipe.lease.price_micro
    rules = Rules(round(audit.floor * 1e6), price_micro, audit.stake)
    cheats = [_with_units(row, plan, rules) for row in every if row["way"] in CHEATS]
    low, high = exact_share(wrong, audits) if audits else (0.0, 1.0)
    return {
        "torch": torch.__version__,
        "floor": audit.floor,
        "stake": audit.stake,
        "part": audit.part,
        "known": KNOWN,
        "cheats": cheats,
        "honest": {
            "audits": audits,
            "accused": wrong,
            "low": low,
            "high": high,
            "pairs": len(pairs),
        },
        "learning": [row for row in every if row["way"] == SPOILED],
    }


def _with_units(row: dict[str, Any], plan: Plan, rules: Rules) -> dict[str, Any]:
    """With the chance per audited answer, and mean units until the first hard verdict, by share and reputation."""
    accepted = row["answers"] - row["refused"]
    chance = row["detected"] / accepted if accepted else None
    row = {**row, "chance": chance}
    if accepted:
        low, high = exact_share(row["detected"], accepted)
        row |= {"low": low, "high": high}
    units = []
    for share in plan.shares if chance else ():
        means = [
            mean_units(lives(share, chance or 0.0, rules, verified, plan.trials, plan.seed))
            for verified in (0, KNOWN)
        ]
        units.append({"share": share, "newcomer": means[0], "known": means[1]})
    return {**row, "units": units}


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"exact mode, floor {found['floor']:.0%}, stake {found['stake']}, a {found['part']:.0%} part; units until the first hard verdict: of a newcomer / of a node with "
        f"{found['known']} answers found right",
        "cheat                    variant  refused  found by an audit  same bits   units at a share of the work",
    ]
    for row in found["cheats"]:
        of = row["answers"] - row["refused"]
        seen = f"{row['detected']:4} of {of:4}" if of else "none came in"
        units = "  ".join(
            f"{each['share']:g}: {each['newcomer']:.1f} / {each['known']:.0f}"
            for each in row["units"]
        )
        lines.append(
            f"{row['way']:24} {row['variant']:7} {row['refused']:8}  {seen:17} {row['same_bits']:10}   {units}"
        )
    right = found["honest"]
    lines.append(
        f"honest: {right['accused']} of {right['audits']} audits accuse; 95% interval of the rate "
        f"[{right['low']:.1e}, {right['high']:.1e}]; made and audited under {right['pairs']} pairs of instructions "
        "and threads"
    )
    return "\n".join(lines + _spoiled(found["learning"]))


def _spoiled(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        "runs in which a third of the nodes cheats   seed  held-out reward  greedy  forged  learned from  quarantined (honest)"
    ]
    return lines + [
        f"{row['arm']:42} {row['seed']:5}  {row['reward']:15.3f}  {row['greedy']:6.3f}  {row['forged']:6}  "
        f"{row['learned']:12}  {row['quarantined']:11} ({row['accused']})"
        for row in rows
    ]
