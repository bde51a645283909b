"""What simulated runs came to, as data and as tables: means over seeds with intervals, and what they rest on."""

from collections.abc import Sequence
from typing import Any

from archipel.bench.intervals import mean_of_seeds
from archipel.simulation.likeness import Compared
from archipel.simulation.machines import Weights
from archipel.simulation.observed import Observed
from archipel.simulation.play import Played
from archipel.simulation.spreading import Row

PUBLISHED = {"echo2-4b": 0.33, "echo2-8b": 0.36}
"""Cost saved by ECHO-2 at equal reward (arXiv 2602.02192, abstract: 33 to 36%)."""

LINES: tuple[tuple[str, str, str, float], ...] = (
    ("utilisation", "learner at work, of all the time", "%", 100.0),
    ("utilisation_settled", "  after the first round was cleared", "%", 100.0),
    ("staleness_mean", "staleness, mean", "versions", 1.0),
    ("staleness_most", "  at most", "versions", 1.0),
    ("versions", "versions made", "", 1.0),
    ("nodes_here", "nodes here, mean", "", 1.0),
    ("nodes_active", "  of these at work", "", 1.0),
    ("cost_reduction", "cost below the data centre's", "%", 100.0),
    ("usd_per_version", "a version", "USD", 1.0),
    ("usd_per_version_central", "  in the data centre", "USD", 1.0),
    ("usd_per_million", "a million verified tokens", "USD", 1.0),
    ("usd_per_million_central", "  in the data centre", "USD", 1.0),
    ("clearing_usd_per_million", "clearing price of a million tokens", "USD", 1.0),
    ("lots_short", "lots wanted and not offered within the reserve", "", 1.0),
    ("asks_below_cost", "asks below their electricity (last round)", "", 1.0),
    ("dissemination_s", "a version reaches a node that waits for it, median", "s", 1.0),
    ("dissemination_s_95", "  95% of them", "s", 1.0),
    ("egress_gb_per_version", "leaves the lab for a version, anchors for newcomers too", "GB", 1.0),
    ("egress_gb_per_version_star", "  if it all came from the lab", "GB", 1.0),
    ("ingress_gb", "comes in to the lab", "GB", 1.0),
    ("cheats", "nodes that forged", "", 1.0),
    ("cheats_found", "  found out", "%", 100.0),
    ("minutes_to_find", "  minutes from the first forged answer, median", "min", 1.0),
    ("minutes_to_find_95", "  95% of them", "min", 1.0),
    ("forged_until_found", "  forged answers until then, mean", "", 1.0),
    ("honest_accused", "operators in quarantine, none of whose nodes cheats", "", 1.0),
    ("nodes_paid", "nodes that were paid", "", 1.0),
    ("gini_paid", "Gini of operators' earnings, of those who were paid", "", 1.0),
    ("gini_all", "  of all who could take part", "", 1.0),
    ("hhi_operators", "concentration over operators (HHI)", "of 10,000", 1.0),
)


def to_json(played: Sequence[Played]) -> dict[str, Any]:
    """Everything, ready for JSON."""
    first = played[0]
    return {
        "scenario": first.scenario.name,
        "title": first.scenario.title,
        "seeds": [each.seed for each in played],
        "whole": all(each.is_whole for each in played),
        "figures": {name: figure(played, name) for name in first.outcome.figures},
        "staleness": [dict(each.outcome.staleness) for each in played],
        "refusals": [dict(each.outcome.refusals) for each in played],
        "kinds": list(first.outcome.by_kind),
        "series": [list(each.outcome.series) for each in played],
        "published": published_beside(played),
        "break_even": break_even(first),
        "weights": {
            "params": first.setting.weights.params,
            "active": first.setting.weights.active,
            "held_gb": first.setting.weights.gigabytes,
            "anchor_gb": first.setting.weights.sent_gb,
            "delta_gb": first.setting.weights.delta_gb,
        },
        "inputs": [
            {
                "name": each.name, "value": each.value, "unit": each.unit, "kind": each.kind,
                "source": each.source, "about": each.about,
            }
            for each in first.inputs
        ],
    }  # fmt: skip


def figure(played: Sequence[Played], name: str) -> dict[str, float | None]:
    """Mean over seeds and Student's 95% interval; None where no seed has it."""
    values = [value for each in played if (value := each.outcome.figures.get(name)) is not None]
    if not values:
        return {"mean": None, "low": None, "high": None}
    mean = mean_of_seeds(values)
    is_one = mean.num_seeds == 1
    return {
        "mean": mean.mean, "low": None if is_one else mean.low, "high": None if is_one else mean.high
    }  # fmt: skip


def break_even(played: Played) -> dict[str, float]:
    """At what price of a million tokens the data centre's own rollouts cost the same, and per hour of each machine."""
    central = played.setting.central.usd_per_million
    hours = {
        row["kind"]: central * row["tokens_per_s"] * 3600 / 1e6
        for row in played.outcome.by_kind
        if row["tokens_per_s"]
    }
    return {"usd_per_million": central} | {
        f"usd_per_hour.{kind}": usd for kind, usd in hours.items()
    }


def table(played: Sequence[Played]) -> str:
    """For people."""
    first = played[0]
    hours = figure(played, "hours")["mean"]
    lines = [
        f"{first.scenario.name}: {first.scenario.title}",
        f"{hours:,.1f} h simulated, {len(played)} seed{'s' if len(played) > 1 else ''}"
        + ("" if all(each.is_whole for each in played) else "; interrupted: this is what there is"),
        "",
    ]
    lines += [line for each in LINES if (line := _line(played, *each)) is not None]
    lines += ["", *_published(played), *_kinds(first), "", *_inputs(first)]
    return "\n".join(lines)


def _line(played: Sequence[Played], name: str, what: str, unit: str, scale: float) -> str | None:
    found = figure(played, name)
    if found["mean"] is None:
        return None
    low, high = found["low"], found["high"]
    interval = "" if low is None or high is None else f" [{_n(low * scale)}, {_n(high * scale)}]"
    return f"{what:<56}{_n(found['mean'] * scale):>12}{interval} {unit}".rstrip()


def _n(value: float) -> str:
    """Three digits or so."""
    size = abs(value)
    if size >= 1000 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def published_beside(played: Sequence[Played]) -> dict[str, float] | None:
    """The published saving, this one over the interval of how long a baseline generates, and where both are the same.

    A baseline that generates for a share g of its time costs train / (1 - g).
    """
    first = played[0]
    published = PUBLISHED.get(first.scenario.name)
    shares = first.setting.central.generation_share
    versions, a_version = (
        figure(played, "versions")["mean"],
        figure(played, "usd_per_version")["mean"],
    )
    train = figure(played, "usd_train")["mean"]
    if published is None or shares is None or not versions or not a_version or not train:
        return None
    learned = train / versions
    saved = [1 - a_version * (1 - share) / learned for share in shares]
    return {
        "published": published, "share": shares[0], "saved": saved[0], "saved_low": saved[1],
        "saved_high": saved[2], "share_at_published": 1 - learned * (1 - published) / a_version,
    }  # fmt: skip


def _published(played: Sequence[Played]) -> list[str]:
    found = published_beside(played)
    if found is None:
        return []
    return [
        f"published for this setting: {found['published']:.0%} below a baseline that generates and trains in turns; here "
        f"{found['saved']:.0%} if it generates {found['share']:.0%} of its time",
        f"  ({found['saved_low']:.0%} to {found['saved_high']:.0%} over that figure's interval); as published if it generates "
        f"{found['share_at_published']:.0%}",
        "",
    ]


def _kinds(first: Played) -> list[str]:
    head = f"{'machine':<12}{'number':>7}{'GB':>7}{'token/s':>9}{'asks':>8}{'even at':>10}{'active':>8}{'earned':>10}"
    lines = [f"{head}   (asks: USD a million tokens; even at: USD an hour; earned: USD)"]
    even = break_even(first)
    for row in first.outcome.by_kind:
        name = f"{row['accelerators']}x{row['kind']}"
        if row["why_not"]:
            lines.append(
                f"{name:<12}{row['machines']:>7,}{row['memory_gb']:>7,.0f}   takes no part: {row['why_not']}"
            )
            continue
        lines.append(
            f"{name:<12}{row['machines']:>7,}{row['memory_gb']:>7,.0f}{row['tokens_per_s']:>9,.0f}"
            f"{row['median_ask_usd_per_million']:>8.3f}{even['usd_per_hour.' + row['kind']]:>10.2f}"
            f"{row['active']:>8,}{row['usd_earned']:>10,.2f}"
        )
    return lines


def _inputs(first: Played) -> list[str]:
    by: dict[str, list[str]] = {}
    for each in first.inputs:
        by.setdefault(each.kind, []).append(each.name)
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(by.items()))
    assumed = [each for each in first.inputs if each.kind == "assumed"]
    lines = [
        f"rests on {len(first.inputs)} figures of the tables: {counts}; --json has all, with sources. Assumed:"
    ]
    return lines + [
        f"  {each.name} = {each.value:g}{'' if each.unit == '1' else f' {each.unit}'}  ({each.source})"
        for each in assumed
    ]


def rows_to_json(rows: Sequence[Row], weights: Weights) -> dict[str, Any]:
    """One version to ever more nodes."""
    return {
        "delta_gb": weights.delta_gb,
        "rows": [
            {
                "nodes": row.nodes,
                "tail_s": row.tail_s,
                "egress_gb": row.egress_gb,
                "chosen": row.chosen,
            }
            for row in rows
        ],
    }


def rows_table(rows: Sequence[Row], weights: Weights) -> str:
    """For people."""
    shapes = ("star", "mirrors", "tree")
    lines = [
        f"{weights.title}: {weights.delta_gb * 1000:,.0f} MB a version; seconds until the last node has it, GB out of the lab",
        f"{'nodes':>7}" + "".join(f"{shape + ' s':>12}{'GB':>9}" for shape in shapes) + "  chosen",
    ]
    for row in rows:
        parts = "".join(
            f"{row.tail_s[shape]:>12,.1f}{row.egress_gb[shape]:>9,.2f}"
            if shape in row.tail_s
            else f"{'-':>21}"
            for shape in shapes
        )
        lines.append(f"{row.nodes:>7,}{parts}  {row.chosen}")
    return "\n".join(lines)


def like_to_json(observed: Observed, rows: Sequence[Compared]) -> dict[str, Any]:
    """A real run beside its simulations."""
    return {
        "run": observed.opened.run,
        "versions": observed.run.version,
        "nodes": sum(bool(each.rollouts) for each in observed.seen.values()),
        "figures": [
            {
                "name": row.name, "unit": row.unit, "real": row.real,
                "simulated": list(row.simulated), "off": row.off,
            }
            for row in rows
        ],
    }  # fmt: skip


def like_table(observed: Observed, rows: Sequence[Compared]) -> str:
    """For people."""
    nodes = sum(bool(each.rollouts) for each in observed.seen.values())
    lines = [
        f"{observed.opened.run}: {observed.run.version} versions by {nodes} nodes; simulated by what they took",
        f"{'':<28}{'real':>12}{'simulated':>12}{'off':>8}",
    ]
    for row in rows:
        mean = sum(row.simulated) / len(row.simulated)
        lines.append(f"{row.name:<28}{_n(row.real):>12}{_n(mean):>12}{row.off:>+8.1%} {row.unit}")
    return "\n".join(lines)
