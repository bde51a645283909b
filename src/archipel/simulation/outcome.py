"""What a simulated run came to: cost beside the data centre's, the learner's use, staleness, bytes, cheats, earnings.

Law: money is what the lab's own book says; a credit is a dollar. What is compared is the same number of versions at
the same use of the learner, so the learner's own hours are on both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from archipel.lab.programmes import rl
from archipel.lab.providers import seen
from archipel.market.health import herfindahl
from archipel.market.journal import escrow, held, stake, wallet
from archipel.simulation import words
from archipel.simulation.providers import MICRO
from archipel.simulation.trade import last_round
from archipel.simulation.watch import Moment
from archipel.simulation.world import OPERATOR, START_MS, World

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Outcome:
    """One world; `None` where there was nothing to count."""

    figures: Mapping[str, float | None]
    """By name; the names say their units."""
    staleness: Mapping[int, int]
    """Staleness -> groups that were learned from."""
    series: Sequence[Mapping[str, float]]
    """How it stood, by the hour."""
    refusals: Mapping[str, int]
    by_kind: Sequence[Mapping[str, Any]]
    """Kinds of machines: how many, what they brought and earned, or why they take no part."""


def outcome_of(world: World) -> Outcome:
    """As far as the world came."""
    course = rl.course(world.run_state)
    figures = {
        **_course(world), **_money(world), **_bytes(world), **_cheats(world), **_earnings(world)
    }  # fmt: skip
    return Outcome(
        figures=figures,
        staleness=dict(sorted(course.staleness.items())),
        series=_series(world),
        refusals=dict(world.watch.refusals),
        by_kind=_by_kind(world),
    )


def _course(world: World) -> dict[str, float | None]:
    run, watch = world.run_state, world.watch
    course = rl.course(run)
    elapsed_ms = world.events.now_ms - run.version_0_at_ms if run.version >= 0 else 0
    groups = sum(course.staleness.values())
    aged = sum(age * number for age, number in course.staleness.items())
    settled = [each for each in watch.series if each.price_micro]
    return {
        "hours": (world.events.now_ms - START_MS) / HOUR_MS,
        "records": float(world.lab.ahead.size),
        "versions": float(max(run.version, 0)),
        "utilisation": course.busy_ms / elapsed_ms if elapsed_ms else None,
        "utilisation_settled": _use(settled[0], settled[-1]) if len(settled) > 1 else None,
        "staleness_mean": aged / groups if groups else None,
        "staleness_most": float(max(course.staleness, default=0)) if groups else None,
        "nodes_here": mean(each.here for each in watch.series) if watch.series else None,
        "nodes_active": mean(each.active for each in settled) if settled else None,
        "verified_tokens": float(watch.verified_tokens),
    }


def _use(first: Moment, last: Moment) -> float:
    """Of the learner, between two moments."""
    return (last.busy_ms - first.busy_ms) / max(last.at_ms - first.at_ms, 1)


def _money(world: World) -> dict[str, float | None]:
    run, watch, setting = world.run_state, world.watch, world.setting
    versions, central = max(run.version, 0), setting.central
    learner = central.learner_usd_per_h * (world.events.now_ms - START_MS) / HOUR_MS
    paid = (run.paid_micro - _taken_back(world)) / MICRO
    moved = watch.egress_gb * setting.egress_usd_per_gb
    learning = world.scenario.learning
    learned = versions * learning.groups * learning.group_size * learning.tokens
    own = learned / MICRO * central.usd_per_million
    is_colocated = central.generation_share is not None
    train = learned / MICRO * central.train_usd_per_million
    here, there = learner + paid + moved, (train if is_colocated else learner) + own
    prices = [each.price_micro for each in watch.clearings]
    return {
        "usd_paid": paid,
        "usd_egress": moved,
        "usd_learner": learner,
        "usd_central_rollouts": own,
        "usd_train": train,
        "usd_per_version": here / versions if versions else None,
        "usd_per_version_central": there / versions if versions else None,
        "cost_reduction": 1 - here / there if versions and there else None,
        "usd_per_million": paid / (watch.verified_tokens / MICRO)
        if watch.verified_tokens
        else None,
        "usd_per_million_central": central.usd_per_million,
        "rollout_reduction": 1 - (paid + moved) / own if own else None,
        "clearing_usd_per_million": mean(prices) / MICRO if prices else None,
        "lots_short": mean(each.short for each in watch.clearings) if watch.clearings else None,
        "asks_below_cost": float(_dumping(world)) if watch.clearings else None,
    }


def _dumping(world: World) -> int:
    """Bids of the last round below their electricity."""
    last = last_round(world.lab.ahead, world.scenario.name)
    book = {} if last is None else last.book
    return sum(
        bid.price_micro < world.machines[did].provider.floor_micro for did, bid in book.items()
    )


def _taken_back(world: World) -> int:
    """Micro-credits that verdicts gave back to the sponsor: what it paid, less what it is out of pocket."""
    book, run = world.lab.ahead.book, world.run_state
    left = int(book.get(escrow(run.name), 0)) + int(book.get(held(run.name), 0))
    spent = words.BUDGET_MICRO - left - int(book.get(wallet(OPERATOR), 0))
    return run.paid_micro - spent


def _bytes(world: World) -> dict[str, float | None]:
    watch = world.watch
    waits = sorted(ms for each in watch.reached.values() for ms in each)
    return {
        "egress_gb": watch.egress_gb,
        "egress_gb_per_version": watch.egress_gb / len(watch.published)
        if watch.published
        else None,
        "egress_gb_per_version_star": watch.sent_gb / len(watch.published)
        if watch.published
        else None,
        "delivered_gb": watch.sent_gb,
        "ingress_gb": watch.ingress_gb,
        "dissemination_s": median(waits) / 1000 if waits else None,
        "dissemination_s_95": _most(waits) / 1000 if waits else None,
    }


def _most(ordered: Sequence[float]) -> float:
    """What 95% are below or at; of few, the largest."""
    return ordered[-(-95 * len(ordered) // 100) - 1]


def _cheats(world: World) -> dict[str, float | None]:
    watch, state = world.watch, world.lab.ahead
    known = list(watch.cheats.values())
    found = [each for each in known if each.found_ms is not None]
    crooked = {each.provider.operator for each in world.machines.values() if each.provider.forges}
    accused = {
        each.provider.operator
        for did, each in world.machines.items()
        if each.provider.operator not in crooked
        and (node := seen(state, did)) is not None
        and node.standing.quarantine is not None
    }
    minutes = sorted(((each.found_ms or 0) - each.began_ms) / 60_000 for each in found)
    return {
        "cheats": float(len(known)),
        "cheats_found": len(found) / len(known) if known else None,
        "minutes_to_find": median(minutes) if minutes else None,
        "minutes_to_find_95": _most(minutes) if minutes else None,
        "forged_until_found": mean(each.forged_before for each in found) if found else None,
        "honest_accused": float(len(accused)),
    }


def _earnings(world: World) -> dict[str, float | None]:
    earned = earnings(world)
    paid = [micro for micro in earned.values() if micro > 0]
    return {
        "nodes_paid": float(sum(micro > 0 for micro in world.watch.earned.values())),
        "operators_paid": float(len(paid)),
        "gini_paid": gini(paid) if paid else None,
        "gini_all": gini(list(earned.values())) if paid else None,
        "hhi_operators": float(herfindahl(earned)) if paid else None,
    }


def earnings(world: World) -> dict[str, int]:
    """What each operator of a machine that could take part has in the lab's book, its stake included; micro-credits."""
    book = world.lab.ahead.book
    operators = {each.provider.operator for each in world.machines.values()}
    return {
        did: max(int(book.get(wallet(did), 0)) + int(book.get(stake(did), 0)), 0)
        for did in sorted(operators)
    }


def gini(amounts: Sequence[float]) -> float:
    """Of amounts of 0 or more: 0 where all have the same, towards 1 where one has all.

    Mean absolute difference over twice the mean (Gini 1912), by ranks: 2 sum(i x_i) / (n sum x) - (n + 1) / n.
    """
    ordered, total = sorted(amounts), sum(amounts)
    if not ordered or total <= 0:
        return 0.0
    weighted = sum(rank * amount for rank, amount in enumerate(ordered, 1))
    number = len(ordered)
    return 2 * weighted / (number * total) - (number + 1) / number


def _series(world: World) -> list[dict[str, float]]:
    return [
        {
            "hours": (each.at_ms - START_MS) / HOUR_MS,
            "version": each.version,
            "active": each.active,
            "here": each.here,
            "usd_per_million": each.price_micro / MICRO,
        }
        for each in world.watch.series
    ]


def _by_kind(world: World) -> list[dict[str, Any]]:
    earned, bought = world.watch.earned, world.active
    rows = list[dict[str, Any]]()
    for kind in world.kinds.values():
        dids = [did for did, each in world.machines.items() if each.provider.kind.name == kind.name]
        active = [did for did in dids if did in bought]
        rows.append(
            {
                "kind": kind.name,
                "machines": len(dids) + sum(each.kind.name == kind.name for each in world.idle),
                "accelerators": kind.accelerators,
                "memory_gb": round(kind.memory_gb, 1),
                "tokens_per_s": round(kind.tokens_per_s, 1),
                "median_ask_usd_per_million": kind.hourly_usd / (kind.tokens_per_s * 3600) * MICRO
                if kind.tokens_per_s
                else None,
                "active": len(active),
                "usd_earned": sum(earned[did] for did in dids) / MICRO,
                "why_not": kind.why_not,
            }
        )
    return rows
