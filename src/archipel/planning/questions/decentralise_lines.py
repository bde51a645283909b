"""`plan decentralise`, tables of bytes and time: exchanges, the penalty by source, a site, rollouts."""

from archipel.planning.laws.site_penalty import exponent_of_loss_fit, exponent_through, penalty
from archipel.planning.laws.staleness import learner_share, required_rate
from archipel.planning.laws.synchronisation import (
    largest_params,
    naive_seconds,
    sparse_bits_per_param,
)
from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.decentralise_market import Prices
from archipel.planning.questions.decentralise_method import Way
from archipel.planning.questions.decentralise_run import Run
from archipel.planning.tables import Shelf

Row = tuple[Cell, ...]
PUBLISHED_COMPUTING = {
    "diloco": (
        ("intellect1_world", "published: INTELLECT-1 computing, three continents"),
        ("intellect1_usa", "published: the same inside one country"),
    ),
    "sparseloco": (("covenant", "published: Covenant-72B computing"),),
}
"""Real runs of a method, to hold the computed share against."""


def exchanges(run: Run, way: Way, shelf: Shelf) -> Table:
    """The naive bound, what fits ten minutes, and what compression claims."""
    full = shelf["decentralise.full_bits"]
    naive = derive(
        "", "s", [(run.params, "param"), (full, "bit/param"), (run.up, "bit/s")], naive_seconds,
        f"2 × run.params × {full.name} / {run.up.name}",
    ).named("naive.exchange", "one naive exchange, fp32", "min")  # fmt: skip
    whole = (naive * run.steps).named("naive.total", "exchanging at every step", "year")
    rows: list[Row] = [
        ("naive: fp32 at every step, one exchange", naive),
        ("naive: all exchanges of the run", whole),
        ("largest model in ten minutes, naive", _largest("naive", run, full, shelf)),
    ]
    if way.name in ("diloco", "streaming-diloco", "data-parallel"):
        rows.append(
            (f"largest model in ten minutes, {way.name}", _largest("method", run, way.wire, shelf))
        )
    rows += [
        ("one member sends, per exchange", way.payload),
        ("steps between exchanges", way.steps),
        ("fewer bits than fp32 at every step, times", _fewer(run, way, full)),
    ]
    if way.name == "sparseloco":
        rows += _kept(full, shelf)
    rows += [
        (text, shelf[f"decentral.utilisation.{run_name}"].to("percent"))
        for run_name, text in PUBLISHED_COMPUTING.get(way.name, ())
    ]
    return Table("Exchange", ("", ""), tuple(rows))


def _fewer(run: Run, way: Way, full: Quantity) -> Quantity:
    """How many times fewer bits a member sends over the run than naively."""
    return (run.params * full * way.steps / way.payload).named(
        "sync.reduction", "times fewer bits than fp32 at every step", "1"
    )


def _largest(name: str, run: Run, wire: Quantity, shelf: Shelf) -> Quantity:
    limit = shelf["decentral.sync_limit"]
    return derive(
        f"{name}.largest", "param",
        [(limit, "s"), (wire, "bit/param"), (run.up, "bit/s")], largest_params,
        f"{limit.name} × {run.up.name} / (2 × {wire.name})", "largest model within the limit",
    )  # fmt: skip


def _kept(full: Quantity, shelf: Shelf) -> list[Row]:
    """Smaller than fp32 by how much: as advertised, and as the code stores it."""
    density = shelf["method.sparseloco.density"]
    rows: list[Row] = []
    for name, text in (("advertised", "as advertised"), ("stored", "as stored")):
        kept = shelf[f"decentralise.kept_bits.{name}"]
        times = derive(
            f"sparseloco.compression.{name}", "1",
            [(full, "bit/param"), (density, "1"), (kept, "bit")],
            lambda all_, share, bits: all_ / sparse_bits_per_param(share, bits),
            f"{full.name} / ({density.name} × {kept.name})", f"times smaller than fp32, {text}",
        )  # fmt: skip
        rows.append((f"times smaller than fp32, {text}", times))
    return rows


def penalties(run: Run, shelf: Shelf) -> Table:
    """The same penalty by each source."""
    alpha, beta = shelf["decentralise.joint_fit.alpha"], shelf["decentralise.joint_fit.beta"]
    epoch = shelf["decentral.penalty_exponent"]
    joint = derive(
        "penalty.joint_exponent", "1", [(alpha, "1"), (beta, "1")], exponent_of_loss_fit,
        f"2 × {beta.name} / {alpha.name}", "exponent by the joint loss fit",
    )  # fmt: skip
    rows: list[Row] = []
    for name, exponent, text in (
        ("epoch", epoch, "Epoch: 1.5 at 8, 6 at 10,000"),
        ("joint_fit", joint, "DiLoCo scaling laws: loss of n replicas"),
    ):
        factor = derive(
            f"penalty.{name}", "1", [(run.sites, "site"), (exponent, "1")], penalty,
            f"decentral.sites^{exponent.name}", f"compute over one site, {text}",
        )  # fmt: skip
        rows.append((text, exponent, factor))
    for point in (8, 10_000):
        at = shelf[f"decentral.penalty.at_{point}"]
        alone = derive(
            f"penalty.exponent_at_{point}", "1", [(at, "1")],
            lambda factor, n=point: exponent_through(float(n), factor),
            f"ln({at.name}) / ln({point})", "exponent through one printed point",
        )  # fmt: skip
        rows.append((f"Epoch's printed point at {point:,} alone", alone, at))
    return Table("Compute for equal loss, by source", ("", "exponent", "factor"), tuple(rows))


def needed_memory(run: Run, way: Way, shelf: Shelf) -> tuple[Quantity, Quantity]:
    """What one site must hold, and what it has."""
    generates = way.name == "rl-rollouts"
    held = shelf["decentralise.merged_bits" if generates else "memory.training.bf16_adam"]
    needs = (run.params * held).named("site.memory_needed", "states one site must hold", "GB")
    has = (run.per_site * shelf[f"accelerator.{run.kind}.memory"]).named(
        "site.memory", "memory of one site", "GB/site"
    )
    return needs, has


def site(run: Run, way: Way, shelf: Shelf) -> Table:
    needs, has = needed_memory(run, way, shelf)
    moved = (way.payload * run.steps / way.steps).named(
        "site.sent", "one site sends over the run", "TB"
    )
    together = (way.central_hours / run.fleet).named(
        "central.time", "time on one cluster of as many", "day"
    )
    what = "weights" if way.name == "rl-rollouts" else "weights, gradients and optimiser"
    rows: tuple[Row, ...] = (
        (f"{what}, whole at every site", needs),
        ("memory of a site", has),
        ("one site sends over the run", moved),
        ("optimiser steps", run.steps),
        ("tokens per step", run.batch),
        ("training FLOP", run.flop),
        ("hours bought", way.hours),
        ("as many accelerators in one cluster take", together),
    )
    return Table("A site", ("", ""), rows)


def activation(run: Run, prices: Prices, way: Way, shelf: Shelf) -> Table:
    """ECHO-2's rule: the cheapest generators that keep the learner busy."""
    per_step = (run.batch / shelf["rl.tokens_per_rollout"]).named(
        "rl.rollouts_per_step", "rollouts of one step", "rollout"
    )
    train, learner = run.train_time, run.learner
    each = (per_step / (train * learner * shelf["rl.inference_per_training"])).named(
        "rl.rate", "one accelerator generates", "rollout/(s*accelerator)"
    )
    wanted = derive(
        "rl.required_rate", "rollout/s",
        [(way.steps, "1"), (per_step, "rollout"), (train, "s"), (way.exchange, "s")],
        required_rate, "κ R / (κ rl.train_time − rl-rollouts.exchange)",
        "least generation that keeps the learner busy",
    )  # fmt: skip
    active = (wanted / each).named("rl.activate", "accelerators to activate", "accelerator")
    rate = (each * run.fleet).named("rl.fleet_rate", "all sites generate", "rollout/s")
    busy = derive(
        "rl.learner_busy", "percent",
        [(way.steps, "1"), (per_step, "rollout"), (train, "s"), (way.exchange, "s"),
         (rate, "rollout/s")],
        lambda *given: 100.0 * learner_share(*given),
        "κ T_train / max(κ T_train, T_bcast + κ R / Σμ)", "learner busy",
    )  # fmt: skip
    whole = (run.params * shelf["decentralise.merged_bits"] / run.down).named(
        "rl.broadcast_whole", "whole weights to all generators", "s"
    )
    rows: tuple[Row, ...] = (
        ("learner, bought centrally", learner), ("one step of the learner", train),
        ("steps between versions, κ", way.steps), ("weights reach all generators in", way.exchange),
        ("the same without deltas", whole),
        ("rollouts wanted", wanted), ("accelerators to activate, cheapest first", active),
        ("learner busy with these sites", busy),
        ("published: ECHO-2 saved, 4B", shelf["decentral.saving.echo2_4b"].to("percent")),
        ("published: ECHO-2 saved, 8B", shelf["decentral.saving.echo2_8b"].to("percent")),
    )  # fmt: skip
    return Table("Rollouts: T_bcast + κR/Σμ ≤ κ T_train", ("", ""), rows)
