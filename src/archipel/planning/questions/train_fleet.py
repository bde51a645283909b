"""The fleet of a run: its useful rate, failures, price and power, and how FLOP become hours, money and CO2."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

from archipel.planning.mistakes import CannotPlan, Conflict, Impossible, nearest
from archipel.planning.quantity import Quantity, given
from archipel.planning.questions.bounds import ACCELERATORS, DRAW, HOURLY, bounded
from archipel.planning.questions.failures import failures
from archipel.planning.questions.known import complete
from archipel.planning.questions.train_asked import defaulted, share_given
from archipel.planning.questions.utilisation import Work, utilisation
from archipel.planning.requests.train import TrainRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

SOONEST_H = 1.0
"""Nobody chooses a fleet for a run of less than an hour."""
LEAST_GOODPUT = 1e-3
"""A run that keeps less of its time than this is taken to stand still."""


@dataclass(frozen=True)
class Fleet:
    """Accelerators of one kind, and what an hour of one does and costs."""

    kind: str
    title: str
    speed: Quantity
    """FLOP per accelerator and second while it computes: peak × MFU (× gain of fp8)."""
    price: Quantity
    """USD per accelerator and hour."""
    server: int
    """Accelerators in one server."""
    count: Quantity
    goodput: Quantity
    mtbf: Quantity | None
    """Hours between failures; None where the person gave the goodput."""
    interval: Quantity | None
    attention: Quantity | None = None
    """Arithmetic over 6ND, where the utilisation counts attention too; None where it does not."""
    scope: str = ""
    """What is put behind the names of a fleet that stands beside the plan's own."""

    @cached_property
    def rate(self) -> Quantity:
        """Kept FLOP of one accelerator-hour."""
        kept = self.speed * self.goodput
        return (kept / self.attention if self.attention else kept).named(
            f"train.rate{self.scope}", "kept work of one accelerator-hour", "EFLOP/(accelerator*h)"
        )


@dataclass(frozen=True)
class Bill:
    """What a number of accelerator-hours amounts to."""

    hours: Quantity
    days: Quantity
    cost: Quantity
    energy: Quantity
    co2: Quantity


def one(kind: str, work: Work, request: TrainRequest, shelf: Shelf) -> Fleet:
    """A fleet of this kind of one server, before its size is known.

    Raises:
        CannotPlan: no arithmetic rate or no price of this kind is known.
    """
    chosen = shelf.choose("accelerator", kind, "accelerator")
    complete("--accelerator", chosen, NEEDED, shelf, "" if request.price else "rental")
    server = server_size(chosen, shelf)
    count = defaulted("train.accelerators", server, "accelerator", "--count", "accelerators")
    return sized(
        Fleet(
            chosen,
            shelf.fact(f"accelerator.{chosen}.title", chosen),
            _speed(chosen, work, request, shelf),
            _price(chosen, request, shelf),
            server,
            count,
            count,
            None,
            None,
            utilisation(chosen, work, shelf)["train.attention"] if request.attention else None,
        ),
        count,
        request,
        shelf,
    )


NEEDED = ("bf16", "memory", "server_size", "server_power", "tdp")
"""What a training plan has to know of an accelerator, its rent aside."""


def server_size(kind: str, shelf: Shelf) -> int:
    """Accelerators in one server, at least one."""
    return max(1, round(centre(shelf[f"accelerator.{kind}.server_size"])))


def centre(quantity: Quantity) -> float:
    """The central value of a quantity, in its own unit."""
    return Draws(0, 1).centre(quantity)


def _speed(kind: str, work: Work, request: TrainRequest, shelf: Shelf) -> Quantity:
    """Of a step, where its utilisation or the goodput was given; else as slow as whole runs are beside theirs."""
    reached = utilisation(kind, work, shelf)
    mfu = reached["train.counted" if request.attention else "train.mfu"]
    gain = shelf["utilisation.fp8"]
    if request.mfu:
        mfu = share_given(request.mfu, "train.mfu", "--mfu", "model FLOP utilisation of bf16 peak")
        gain = shelf["train.fp8_gain"]
    elif not request.goodput:
        mfu = mfu * shelf["utilisation.whole"]
    speed = shelf[f"accelerator.{kind}.bf16"] * mfu
    if request.precision not in ("bf16", "fp8"):
        raise nearest(request.precision, ("bf16", "fp8"), "precision")
    if request.precision == "fp8":
        if f"accelerator.{kind}.fp8" not in shelf:
            able = [k for k in shelf.members("accelerator") if f"accelerator.{k}.fp8" in shelf]
            raise Conflict(
                f"--precision fp8 and --accelerator {kind}: it has no fp8 arithmetic; "
                f"drop --precision or choose one of {', '.join(able)}"
            )
        speed = speed * gain
    return speed.named(
        "train.speed", "useful arithmetic of one accelerator", "TFLOP/(s*accelerator)"
    )


def _price(kind: str, request: TrainRequest, shelf: Shelf) -> Quantity:
    if request.price:
        value = bounded(request.price, HOURLY, "--price")
        return given("train.price", value, HOURLY.unit, "--price", "rent of one accelerator")
    if f"rental.{kind}" not in shelf:
        priced = [k for k in shelf.members("accelerator") if f"rental.{k}" in shelf]
        raise CannotPlan(
            f"--accelerator {kind}: no rent of it is known; add --price, e.g. --price 2USD/h "
            f"(known: {', '.join(priced)})"
        )
    return shelf[f"rental.{kind}"]


def sized(fleet: Fleet, count: Quantity, request: TrainRequest, shelf: Shelf) -> Fleet:
    """The same kind in another number: more accelerators fail more often."""
    if request.goodput:
        share = share_given(
            request.goodput, "train.goodput", "--goodput", "share of time that does kept work"
        )
        return replace(fleet, count=count, goodput=share, mtbf=None, interval=None)
    found = failures(count, shelf, "train", LEAST_GOODPUT)
    if centre(found.goodput) <= LEAST_GOODPUT:
        raise Impossible(
            f"--count {centre(count):,.0f}: a failure every {centre(found.between) * 60:.2g} minutes, sooner "
            "than a restart takes; ask for fewer accelerators, or --goodput if yours recover faster"
        )
    return replace(
        fleet, count=count, goodput=found.goodput, mtbf=found.between, interval=found.interval
    )


def chosen_count(fleet: Fleet, hours: Quantity, least: float, shelf: Shelf) -> Quantity:
    """Whole servers, a power of two of them, that end in about a month and hold the model."""
    patience = max(centre(shelf["train.patience"].to("h")), SOONEST_H)
    wanted = max(centre(hours) / patience, least if math.isfinite(least) else 1.0, 1.0)
    wanted = max(1.0, min(wanted, centre(shelf["train.most_accelerators"]), ACCELERATORS.most))
    servers = 2 ** max(0, math.ceil(math.log2(wanted / fleet.server) - 1e-9))
    about = "accelerators: whole servers for about a month that hold the model"
    number = servers * fleet.server
    return defaulted("train.accelerators", number, "accelerator", "--count", about)


def asked_count(request: TrainRequest) -> Quantity | None:
    """The number of accelerators that the person gave."""
    if not request.count:
        return None
    value = bounded(request.count, ACCELERATORS, "--count")
    return given("train.accelerators", value, "accelerator", "--count", "accelerators")


def hours_of(flop: Quantity, fleet: Fleet, name: str = "") -> Quantity:
    """Accelerator-hours that a training compute takes, failures and restarts included."""
    hours = (flop / fleet.rate).to("accelerator*h")
    return hours.named(name, "accelerator-hours") if name else hours


def bill(hours: Quantity, fleet: Fleet, request: TrainRequest, shelf: Shelf, name: str) -> Bill:
    """Time, money, electricity and CO2 of accelerator-hours, named below `name`."""
    country = shelf.choose("energy.carbon", request.country, "country")
    kind = fleet.kind
    power = _draw(kind, request, shelf) * shelf["power.pue.colocation"]
    energy = (hours * power).named(f"{name}.energy", "electricity, cooling included", "MWh")
    return Bill(
        hours,
        (hours / fleet.count).named(f"{name}.days", f"on {_count(fleet)}", "day"),
        (hours * fleet.price).named(f"{name}.cost", "rent of the accelerators", "USD"),
        energy,
        (energy * shelf[f"energy.carbon.{country}"]).named(
            f"{name}.co2", f"CO2-equivalent, grid of {country}", "tonne"
        ),
    )


def _draw(kind: str, request: TrainRequest, shelf: Shelf) -> Quantity:
    """Of one accelerator with its part of the server, as measured or by its nameplate."""
    if request.draw:
        value = bounded(request.draw, DRAW, "--draw")
        return given("train.draw", value, DRAW.unit, "--draw", "measured draw of one accelerator")
    share = shelf["power.draw_share.tpu" if kind.startswith("tpu") else "power.draw_share.gpu"]
    return shelf[f"accelerator.{kind}.server_power"] * share


def _count(fleet: Fleet) -> str:
    return f"{centre(fleet.count):,.0f} accelerators"
