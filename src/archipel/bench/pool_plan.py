"""The planner of pools beside the published one: on how many pools each finds a plan, how long it takes, how good it is.

Pools are drawn from kinds of devices with their vendors' memory and bandwidth, in regions with round trips between
them. Every pool is told to both; whether anything fits is reckoned apart (`fitting.most_layers`), and every plan is
walked through: the time of a token is that of its layers, ends and wires, whoever planned it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any, Literal

from archipel.bench.intervals import exact_share
from archipel.bench.pool_published import Node, Raises, TooMany, published
from archipel.serve.pool.fitting import most_layers
from archipel.serve.pool.laying import timed
from archipel.serve.pool.plan import GATEWAY, Device, Links, Plan, Shape, measures_of, plan

GB = 10**9
LAYER_BYTES = int(2.95 * GB)
END_BYTES = int(2.1 * GB)
"""128,256 rows of 8,192 numbers of 2 bytes."""
KINDS: dict[str, tuple[int, float, float]] = {
    "A100-80G": (80, 2039, 312),
    "A100-40G": (40, 1555, 312),
    "RTX 5090": (32, 1792, 210),
    "RTX 4090": (24, 1008, 165),
    "Mac 64G": (64, 400, 27),
}
"""GB, GB/s, TFLOP/s, as their vendors say."""
WEIGHTS_SHARE = 0.5
"""Of memory, for weights: the published planner's own default."""
NEAR_S, FAR_S = 0.001, (0.01, 0.08)

Outcome = Literal["planned", "says no", "fails", "too many states"]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """Pools of one kind."""

    num_layers: int
    num_devices: tuple[int, int]
    """At least, at most."""
    num_pools: int
    is_distinct: bool = False
    """No two devices have the same memory."""

    @property
    def name(self) -> str:
        """For tables."""
        low, high = self.num_devices
        devices = f"{low}" if low == high else f"{low}-{high}"
        return (
            f"{self.num_layers} layers, {devices} {'distinct ' if self.is_distinct else ''}devices"
        )


WHOLE = (
    *(Size(layers, (4, 11), 300) for layers in (24, 36, 48)),
    *(Size(24, (num, num), 5, True) for num in (8, 12, 16, 24, 32, 64)),
)
QUICK = (Size(24, (4, 11), 60), *(Size(24, (num, num), 2, True) for num in (8, 16, 64)))


@dataclass(frozen=True)
class Pool:
    """One drawn pool."""

    shape: Shape
    devices: tuple[Device, ...]
    links: Links
    power: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """What came of one pool."""

    is_feasible: bool
    ours: bool
    """Whether ours has a plan."""
    ours_s: float
    """Seconds it took, both aims together halved."""
    theirs: Outcome
    theirs_s: float
    token_ratio: float | None
    """A token's time on their best pipeline over that on ours; None: one has none."""


def draw(random: Random, size: Size) -> Pool:
    """A pool."""
    num = random.randint(*size.num_devices)
    kinds = [KINDS[random.choice(sorted(KINDS))] for _ in range(num)]
    memory = [
        int(gb * GB * WEIGHTS_SHARE * (random.uniform(0.6, 1.4) if size.is_distinct else 1))
        for gb, _, _ in kinds
    ]
    devices = tuple(
        Device(f"d{at}", memory[at], LAYER_BYTES / (gb_s * GB), END_BYTES / (gb_s * GB))
        for at, (_, gb_s, _) in enumerate(kinds)
    )
    region = {each.name: random.randrange(3) for each in devices} | {GATEWAY: 0}
    far = {pair: random.uniform(*FAR_S) for pair in combinations(range(3), 2)}
    trips = {
        (one, other): far.get(
            (min(region[one], region[other]), max(region[one], region[other])), NEAR_S
        )
        for one, other in combinations([*(each.name for each in devices), GATEWAY], 2)
    }
    shape = Shape(size.num_layers, LAYER_BYTES, END_BYTES, END_BYTES, 0)
    return Pool(shape, devices, Links(trips), tuple(tflops for _, _, tflops in kinds))


def tried(pool: Pool) -> Row:
    """Both planners on one pool."""
    measures = measures_of(pool.shape, pool.devices, pool.links)
    began = time.process_time()
    one, many = (plan(pool.shape, pool.devices, pool.links, aim) for aim in ("one", "many"))
    ours_s = (time.process_time() - began) / 2
    nodes = [
        Node(measures.middle[at], measures.first[at], measures.last[at], power)
        for at, power in enumerate(pool.power)
    ]
    began = time.process_time()
    outcome, found = _theirs(nodes, pool.shape.num_layers)
    theirs_s = time.process_time() - began
    laid = [timed(measures, order, counts) for order, counts in found if min(counts) > 0]
    return Row(
        most_layers(measures, range(len(nodes))) >= pool.shape.num_layers,
        isinstance(one, Plan) and isinstance(many, Plan),
        ours_s,
        outcome,
        theirs_s,
        min(each.token_s for each in laid) / one.seconds_per_token[0]
        if laid and isinstance(one, Plan)
        else None,
    )


def _theirs(nodes: Sequence[Node], num_layers: int) -> tuple[Outcome, list[Any]]:
    try:
        found = published(nodes, num_layers)
    except Raises:
        return "fails", []
    except TooMany:
        return "too many states", []
    return ("planned" if found else "says no"), found


def rows(size: Size, seed: int, tell: Tell) -> Iterator[Row]:
    """Of every pool of a size."""
    random = Random(f"{seed} {size.name}")  # noqa: S311 - pools, no secrets
    for number in range(size.num_pools):
        tell(f"{size.name}: pool {number + 1} of {size.num_pools}")
        yield tried(draw(random, size))


def summary(size: Size, found: Sequence[Row]) -> dict[str, Any]:
    """Of one size, for machines."""
    feasible = [row for row in found if row.is_feasible]
    ours, theirs = (
        [row.ours for row in feasible],
        [row.theirs == "planned" for row in feasible],
    )
    return {
        "pools": size.name,
        "tried": len(found),
        "feasible": len(feasible),
        "ours_planned": _share(ours),
        "theirs_planned": _share(theirs),
        "theirs_on_feasible": {
            name: sum(row.theirs == name for row in feasible)
            for name in ("planned", "says no", "fails", "too many states")
        },
        "ours_s": _spread([row.ours_s for row in found]),
        "theirs_s": _spread([row.theirs_s for row in found]),
        "token_time_theirs_over_ours": _mean([row.token_ratio for row in found]),
    }


def wrong(found: Sequence[Row]) -> int:
    """On how many pools ours has no plan where one fits, or one where none does."""
    return sum(row.ours != row.is_feasible for row in found)


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """For people."""
    lines = [
        f"{'pools':<34} {'fit':>9}  {'ours':>6}  {'published: plans, no, fails, too many':<38}"
        f"{'seconds ours / theirs, median (most)':<40}{'token time':<20}"
    ]
    for each in summaries:
        theirs = each["theirs_on_feasible"]
        counts = "  ".join(str(n) for n in theirs.values())
        ours_s, theirs_s = each["ours_s"], each["theirs_s"]
        lines.append(
            f"{each['pools']:<34} {each['feasible']:>4}/{each['tried']:<4}  "
            f"{each['ours_planned']['share']:>6.1%}  "
            f"{each['theirs_planned']['share']:>6.1%}  {counts:<30}"
            f"{ours_s['median']:.3f} ({ours_s['most']:.3f}) / {theirs_s['median']:.3f} ({theirs_s['most']:.3f})      "
            f"{_shown(each['token_time_theirs_over_ours'])}"
        )
    return "\n".join(
        [
            *lines,
            "shares are of the pools that something fits on; token time: one stream on the best pipeline, "
            "published over ours, mean and 95% interval; processor seconds",
        ]
    )


def _shown(mean: dict[str, float | None]) -> str:
    if mean["mean"] is None:
        return "-"
    if mean["low"] is None:
        return f"{mean['mean']:.2f}"
    return f"{mean['mean']:.2f} [{mean['low']:.2f}, {mean['high']:.2f}]"


def _share(held: Sequence[bool]) -> dict[str, float]:
    if not held:
        return {"share": 0.0, "low": 0.0, "high": 1.0}
    low, high = exact_share(sum(held), len(held))
    return {"share": sum(held) / len(held), "low": low, "high": high}


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    told = sorted(seconds)
    return {"median": told[len(told) // 2], "most": told[-1]}


def _mean(values: Sequence[float | None]) -> dict[str, float | None]:
    """Normal interval: there are hundreds of pools."""
    known = [each for each in values if each is not None]
    if len(known) < 2:
        return {"mean": known[0] if known else None, "low": None, "high": None}
    mean = sum(known) / len(known)
    half = 1.96 * (sum((each - mean) ** 2 for each in known) / (len(known) - 1) / len(known)) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}
