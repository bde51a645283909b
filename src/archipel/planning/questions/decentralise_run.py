"""`plan decentralise`, what is asked: the run, the sites, their lines, and how their members come and go."""

import math
import re
from dataclasses import dataclass

import numpy as np

from archipel.planning.laws.batch import batch_tokens
from archipel.planning.mistakes import Conflict, Impossible, UnitMismatch, nearest
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import (
    BATCH,
    LEAST_SHARE,
    LINE,
    PARAMS,
    PER_SITE,
    SITES,
    TOKENS,
    Bounds,
    bounded,
    share_of,
)
from archipel.planning.questions.utilisation import usual_mfu
from archipel.planning.requests.decentralise import DecentraliseRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

METHODS = {
    "data-parallel": "dp",
    "diloco": "diloco",
    "streaming-diloco": "streaming-diloco",
    "sparseloco": "sparseloco",
    "rl-rollouts": "rl-deltas",
}
"""What people say, and what the tables call it."""
LINES = ("home", "office", "datacentre")
MOST_DEPARTURES = 1e4
"""A day: a site that leaves every few seconds never works."""
_BARE_RATE = re.compile(r"^\s*(?P<number>[\d.]+(?:[eE][-+]?\d+)?)\s*/")
"""`0.2/day`, which has a number and no unit before the stroke."""


@dataclass(frozen=True)
class Run:
    """One run and where it happens."""

    params: Quantity
    active: Quantity
    tokens: Quantity
    batch: Quantity
    """Tokens of one optimiser step."""
    flop: Quantity
    steps: Quantity
    kind: str
    sites: Quantity
    per_site: Quantity
    fleet: Quantity
    speed: Quantity
    """Useful FLOP/s of one accelerator."""
    up: Quantity
    down: Quantity
    line: Quantity
    """The slower direction."""
    churn: Quantity
    """How often one site leaves or fails."""
    hours: Quantity
    """Accelerator-hours of useful training."""
    learner: Quantity
    """Accelerators that learn from what all sites generate."""
    train_time: Quantity
    """One step of that learner."""


def method_of(request: DecentraliseRequest) -> str:
    """The name people use for the chosen method.

    Raises:
        UnknownName: no such method, with the nearest.
        Conflict: options of another method.
    """
    word = request.method.strip().casefold()
    tabled = {table: name for name, table in METHODS.items()}
    method = tabled.get(word, word)
    if method not in METHODS:
        raise nearest(request.method, METHODS, "method")
    if request.staleness and method != "rl-rollouts":
        raise Conflict(
            f"--staleness and --method {method} exclude each other: only rl-rollouts learn from "
            "older versions; drop --staleness or take --method rl-rollouts"
        )
    if request.staleness and request.steps_per_sync:
        raise Conflict(
            "--staleness and --steps-per-sync both fix how often weights are sent (kappa = S - 1); "
            "drop one of them"
        )
    return method


def run_of(request: DecentraliseRequest, shelf: Shelf, tokens: Quantity) -> Run:
    """The run as quantities, for a number of tokens.

    Raises:
        UnknownName, UnitMismatch, Conflict, Impossible: by what was asked.
    """
    kind = shelf.choose("accelerator", request.accelerator, "accelerator")
    total, used = sizes(request)
    params = given("run.params", total, "param", "--params", "parameters")
    active = params
    if used < total:
        about = "parameters used per token"
        active = given("run.active_params", used, "param", "--active-params", about)
    sites = _count(request.sites, SITES, "--sites", "decentral.sites", "sites that work together")
    per_site = _count(request.per_site, PER_SITE, "--per-site", "decentral.per_site", "at one site")
    fleet = (sites * per_site).named(
        "market.accelerators", "accelerators of all sites", "accelerator"
    )
    mfu = _share(request.mfu, "run.mfu", "--mfu", "model FLOP utilisation") or usual_mfu(
        kind, (total, used), shelf
    )
    speed = (shelf[f"accelerator.{kind}.bf16"] * mfu).named(
        "run.speed", "useful speed of one accelerator", "TFLOP/(s*accelerator)"
    )
    flop = (shelf["law.flop.training"] * active * tokens).named("run.flop", "training FLOP", "FLOP")
    batch = _batch(request, shelf, flop, fleet)
    up, down = _lines(request, shelf)
    steps = (tokens / batch).named("run.steps", "optimiser steps", "1")
    learner = (fleet / shelf["rl.inference_per_training"]).named(
        "rl.learner.accelerators", "accelerators of the learner", "accelerator"
    )
    return Run(
        params, active, tokens, batch, flop, steps, kind, sites, per_site, fleet, speed,
        up, down, _slower(up, down), _churn(request, shelf, per_site),
        (flop / speed).named("run.hours", "useful training hours", "accelerator*h"),
        learner,
        (flop / steps / (learner * speed)).named("rl.train_time", "one step of the learner", "s"),
    )  # fmt: skip


def sizes(request: DecentraliseRequest) -> tuple[float, float]:
    """Parameters in all, and per token.

    Raises:
        Impossible: none, or more per token than in all.
    """
    total = bounded(request.params, PARAMS, "--params")
    if not request.active_params:
        return total, total
    used = bounded(request.active_params, PARAMS, "--active-params")
    if used > total:
        raise Impossible(
            f"--active-params: got {used:g}, expected more than 0 and at most --params {total:g}"
        )
    return total, used


def asked_tokens(request: DecentraliseRequest, shelf: Shelf) -> Quantity:
    """The tokens asked for, or as many as the rule of thumb gives the size."""
    about = "training tokens"
    if request.tokens:
        value = bounded(request.tokens, TOKENS, "--tokens")
        return given("run.tokens", value, "token", "--tokens", about)
    rule = shelf.entry("law.tokens_per_param.rule").figure.value
    default = f"default: {rule:g} tokens per parameter"
    return given("run.tokens", rule * sizes(request)[1], "token", default, about)


def _batch(request: DecentraliseRequest, shelf: Shelf, flop: Quantity, fleet: Quantity) -> Quantity:
    about = "tokens of one optimiser step"
    if request.batch:
        value = bounded(request.batch, BATCH, "--batch")
        return given("run.batch", value, "token", "--batch", about)
    if method_of(request) == "rl-rollouts":
        rollouts = shelf["rl.rollouts_per_step.intellect-2"] * shelf["rl.tokens_per_rollout"]
        return rollouts.named("run.batch", about, "token")
    least = (fleet * shelf["decentralise.sequence"]).named(
        "run.batch_least", "one sequence per accelerator", "token"
    )
    parents = [
        (shelf["law.deepseek.batch_coefficient"], "1"), (flop, "FLOP"),
        (shelf["law.deepseek.batch_exponent"], "1"), (least, "token"),
    ]  # fmt: skip
    return derive(
        "run.batch", "token", parents, batch_tokens,
        "max(law.deepseek.batch_coefficient × run.flop^law.deepseek.batch_exponent, run.batch_least)",
        about,
    )  # fmt: skip


def _lines(request: DecentraliseRequest, shelf: Shelf) -> tuple[Quantity, Quantity]:
    word = request.bandwidth.strip().casefold()
    if word in LINES:
        up = shelf[f"decentral.upload.{word}"]
    elif word.replace("-", "").isalpha() or not word:
        raise nearest(request.bandwidth, LINES, "line (or an amount in Mbit/s)")
    else:
        up = _line(request.bandwidth, "--bandwidth", "site.upload", "upload of a site")
    if not request.download:
        return up, up
    return up, _line(request.download, "--download", "site.download", "download of a site")


def _slower(up: Quantity, down: Quantity) -> Quantity:
    if up is down:
        return up
    return derive(
        "site.line", "Mbit/s", [(up, "Mbit/s"), (down, "Mbit/s")], np.minimum,
        f"min({up.name}, {down.name})", "the slower direction of a site's line",
    )  # fmt: skip


def _line(text: str, option: str, name: str, about: str) -> Quantity:
    try:
        value = bounded(in_bits(text), LINE, option)
    except UnitMismatch as error:
        raise UnitMismatch(f"{error}, 1 Gbps, or {', '.join(LINES)}") from None
    return given(name, value, "Mbit/s", option, about)


def in_bits(text: str) -> str:
    """A line as advertised, `1Gbps`, in the spelling of units, `1 Gbit/s`."""
    found = re.fullmatch(r"\s*([\d.,_eE+-]+)\s*([kKmMgGtT]?)(?:[bB][pP][sS]|b/s)\s*", text)
    if found is None:
        return text
    scale = {"": "", "k": "k", "m": "M", "g": "G", "t": "T"}[found[2].casefold()]
    return f"{found[1]} {scale}bit/s"


def _churn(request: DecentraliseRequest, shelf: Shelf, per_site: Quantity) -> Quantity:
    """Leaving, and failing hardware, of one site."""
    if request.churn:
        text = _BARE_RATE.sub(r"\g<number> 1/", request.churn)
        which, value = kind_of(text, {"rate": "1/day", "stay": "day"}, "--churn")
        least = 0.0 if which == "rate" else 1.0 / MOST_DEPARTURES
        if not least <= value <= (MOST_DEPARTURES if which == "rate" else math.inf):
            raise Impossible(
                f"--churn: got {request.churn!r}, expected a rate from 0 to {MOST_DEPARTURES:g}/day, "
                "or a mean stay such as 5 days"
            )
        rate = value if which == "rate" else 1.0 / value
        leaving = given("churn.leaving", rate, "1/day", "--churn", "how often a site leaves")
    elif request.bandwidth.strip().casefold() == "home":
        leaving = shelf["decentral.interruption.home"]
    else:
        leaving = shelf["decentral.interruption.spot_h100"]
    return derive(
        "churn.rate", "1/day",
        [
            (leaving, "1/day"), (per_site, "accelerator/site"),
            (shelf["reliability.mtbf"], "accelerator*day/failure"),
        ],
        lambda often, size, mtbf: often + size / mtbf,
        f"{leaving.name} + decentral.per_site / reliability.mtbf", "a site leaves or fails",
    )  # fmt: skip


def _count(text: str, of: Bounds, option: str, name: str, about: str) -> Quantity:
    value = bounded(text, of, option)
    return given(name, value, "accelerator/site" if of is PER_SITE else of.unit, option, about)


def _share(text: str, name: str, option: str, about: str) -> Quantity | None:
    if not text:
        return None
    return given(name, share_of(text, option, least=LEAST_SHARE), "1", option, about)
