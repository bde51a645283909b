"""What was asked of `plan train`: amounts, what was given, and the words and lists that the sheet needs.

What cannot be asked together stands in the sheet; here is what a table cannot say: which way a budget is
meant, the shares of stages, the fits and kinds side by side.
"""

import re
from dataclasses import dataclass, replace

from archipel.planning.mistakes import CannotPlan, Conflict, Impossible, nearest
from archipel.planning.quantity import Quantity, Source, Stated, given, pure, stated
from archipel.planning.questions.bounds import FLEET_TIME, FLOP, MONEY, WEIGHT, bounded, checked
from archipel.planning.questions.fits import LETTERS, constants_of
from archipel.planning.questions.grids import grid_of
from archipel.planning.questions.known import complete
from archipel.planning.questions.sheet import inputs
from archipel.planning.questions.ways import refuse
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

DEFAULT_BUDGET = "50k USD"
"""What is spent when neither a budget nor a size nor a quality is given."""
STAGES = ("pretrain", "mid", "sft", "rl")
NEEDED = ("bf16", "memory", "server_size", "server_power", "tdp")
"""What a training plan has to know of an accelerator, its rent aside."""
KINDS = ("rtx4090", "a100-80", "h100", "h200", "mi300x", "b200")
"""Node classes shown side by side; the one asked for comes first."""
TWINS = ("sardana",)
"""Other roundings of a fit that is shown anyway; shown only when asked for."""
BUDGETS = {"money": MONEY, "flop": FLOP, "time": FLEET_TIME}
_CHOICES = {
    "stage": ("stage", (*STAGES, "all")),
    "precision": ("precision", ("bf16", "fp8")),
    "recompute": ("recompute", ("", "selective", "full", "none")),
    "zero": ("--zero value", ("0", "1", "2", "3")),
}
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")
"""What no name in a formula may hold, but a person's own fit may."""
Words = dict[str, str]
Lists = dict[str, dict[str, Words]]


@dataclass(frozen=True)
class Asked:
    """A request as the sheet takes it."""

    request: Request
    shelf: Shelf
    flags: frozenset[str]
    """The options that were given, and what kind of question that makes."""
    given: dict[str, Quantity]
    words: Words
    parts: Lists


def centre(quantity: Quantity) -> float:
    """The central value of a quantity, in its own unit."""
    return Draws(0, 1).centre(quantity)


def defaulted(name: str, value: float, unit: str, option: str, about: str) -> Quantity:
    """What the planner chose because nobody said otherwise."""
    source = Source("default", f"chosen by the planner; say otherwise with {option}")
    return stated(name, unit, Stated(float(value), "assumed", source), about)


def read(request: Request, shelf: Shelf) -> Asked:
    """The request in units, with all that is shown side by side.

    Raises:
        UnitMismatch, UnknownName, Conflict, Impossible: as their messages say.
    """
    request = _chosen(request)
    recipe = shelf.choose("law.scalerl", request.rl_recipe, "recipe (--rl-recipe)")
    budget_kind, budget = _budget(request)
    flags = _flags(request, budget_kind)
    refuse("train", flags, {"stage": request.stage, "lawless": LAWLESS.format(request.stage)})
    fit = shelf.choose("law.chinchilla", request.fit, "scaling-law fit")
    kind, grid = _accelerator(request, shelf), grid_of(request.country, shelf)
    amounts = inputs("train", request, {}, shelf) | grid.given | budget
    weights = _weights(request, shelf)
    learns = request.stage == "rl" or "rl" in weights or bool(flags & {"rl_hours", "rollouts"})
    flags |= ({"alone"} if len(weights) == 1 else set()) | ({"learns"} if learns else set())
    amounts |= {f"train.weight.{name}": weight for name, weight in weights.items()}
    fits, constants = _fits(fit, flags, shelf)
    stages = [name for name in STAGES if name in weights or (name == "rl" and learns)]
    parts = _lists(kind, stages or [request.stage], shelf) | {"fits": fits}
    words = _words(request, shelf, (kind, grid.country)) | grid.words
    words |= {
        "weights": " + ".join(f"train.weight.{name}" for name in weights),
        "all_hours": " + ".join(f"{name}.hours" for name in parts["stages"]),
        "several": "train.accelerator_hours" if len(parts["stages"]) > 1 else "",
        "fit_name": fit,
        "fit_tag": _tag(fit),
        "fit": fits[_tag(fit)]["fit"],
        "fits_are": "; ".join(f"{of['name']}: {of['title']}" for of in fits.values()),
        "recipe": recipe if learns else "",
    }
    return Asked(request, shelf, frozenset(flags), amounts | constants, words, parts)


LAWLESS = "with --stage {}: the scaling laws hold for pre-training; drop it or use --stage all"


def _chosen(request: Request) -> Request:
    """Words as they are known, whatever case they were written in."""
    words = {name: getattr(request, name).strip().casefold() for name in _CHOICES}
    for name, (what, choices) in _CHOICES.items():
        if words[name] not in choices:
            raise nearest(words[name], [each for each in choices if each], what)
    return replace(request, **words)


def _flags(request: Request, budget: str) -> set[str]:
    """The options that were given, and what kind of question that makes."""
    found = {*as_dict(request), request.stage, request.precision, request.recompute} - {""}
    later = {"later"} if request.stage in STAGES[1:] else set()
    goal = {"goal"} if found & {"loss", "like"} else set()
    return found | later | goal | ({"budgeted", budget} if budget else set())


def _budget(request: Request) -> tuple[str, dict[str, Quantity]]:
    """A key of `BUDGETS` and the amount; nothing where something else decides."""
    fixed = (request.params, request.tokens, request.loss, request.like)
    rl_only = request.stage == "rl" and (request.rl_hours or request.rollouts)
    text = request.budget or ("" if any(fixed) or rl_only else DEFAULT_BUDGET)
    if not text:
        return "", {}
    units = {name: of.unit for name, of in BUDGETS.items()}
    kind, value = kind_of(text, units, "--budget")
    checked(value, BUDGETS[kind], text, "--budget")
    stating = given if request.budget else defaulted
    return kind, {"asked.budget": stating("asked.budget", value, units[kind], "--budget", "budget")}


def _accelerator(request: Request, shelf: Shelf) -> str:
    """The kind asked for, of which enough is known."""
    kind = shelf.choose("accelerator", request.accelerator, "accelerator")
    complete("--accelerator", kind, NEEDED, shelf, "" if request.price else "rental")
    known = shelf.members("accelerator")
    if request.precision == "fp8" and f"accelerator.{kind}.fp8" not in shelf:
        able = [each for each in known if f"accelerator.{each}.fp8" in shelf]
        raise Conflict(
            f"--precision fp8 and --accelerator {kind}: it has no fp8 arithmetic; "
            f"drop --precision or choose one of {', '.join(able)}"
        )
    if not request.price and f"rental.{kind}" not in shelf:
        priced = [each for each in known if f"rental.{each}" in shelf]
        raise CannotPlan(
            f"--accelerator {kind}: no rent of it is known; add --price, e.g. --price 2USD/h "
            f"(known: {', '.join(priced)})"
        )
    return kind


def _weights(request: Request, shelf: Shelf) -> dict[str, Quantity]:
    """The weight of each stage in accelerator time; none where a later stage stands alone."""
    if request.stage != "all":
        return {"pretrain": pure(1.0)} if request.stage == "pretrain" else {}
    found = {name: shelf[f"train.weight.{name}"] for name in STAGES}
    if request.shares:
        found = shares(request.shares)
    if request.rl_hours or request.rollouts:
        found.pop("rl", None)
    return found


def shares(text: str) -> dict[str, Quantity]:
    """The weights of `--shares`, in the order of stages.

    Raises:
        Impossible, Conflict, UnknownName: not of that form.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = (piece.strip().casefold() for piece in part.partition("="))
        if not sign:
            raise Impossible(f"--shares: got {part!r}, expected e.g. pretrain=80,mid=10,sft=2,rl=8")
        if name not in STAGES:
            raise nearest(name, STAGES, "stage in --shares")
        if name in weights:
            raise Conflict(f"--shares: {name} stands there twice; keep one")
        weights[name] = bounded(number, WEIGHT, f"--shares {name}")
    if not weights.get("pretrain"):
        raise Impossible(
            "--shares: pretrain needs a share; to continue a model that exists use --stage "
            "mid, sft or rl with --params"
        )
    titles = read_sheet("train")["parts"]
    return {
        name: given(f"train.weight.{name}", weights[name], "1", "--shares", titles[name]["title"])
        for name in STAGES
        if weights.get(name)
    }


def _words(request: Request, shelf: Shelf, of: tuple[str, str]) -> Words:
    """Words of a kind of accelerator and a country; names that may not be known are empty then."""
    kind, country = of
    title = read_sheet("train")["parts"].get(request.stage, {"title": "training"})["title"]
    return {
        "stage": request.stage,
        "Stage": title.capitalize(),
        "kind": kind,
        "country": country,
        "paid": f"energy.price.{country}",
        "draw": "tpu" if kind.startswith("tpu") else "gpu",
        "rent": f"rental.{kind}",
        "precision": request.precision,
        "zero": request.zero,
    }


def _lists(kind: str, stages: list[str], shelf: Shelf) -> Lists:
    """The stages, what is billed, and the kinds of accelerators beside the one asked for."""
    others = [each for each in KINDS if each != kind and f"rental.{each}" in shelf]
    tuning = [each for each in ("mid", "sft") if each in stages]
    found = (
        ("stages", stages),
        ("billed", ["train", *stages]),
        ("tuning", tuning),
        ("others", others),
    )
    return {name: {entry: {} for entry in entries} for name, entries in found}


def _fits(
    asked: str, flags: set[str], shelf: Shelf
) -> tuple[dict[str, Words], dict[str, Quantity]]:
    """Every fit, the one asked for first: its words, and its constants under names that formulas hold."""
    others = [name for name in shelf.members("law.chinchilla") if name not in (asked, *TWINS)]
    fits: dict[str, Words] = {}
    constants: dict[str, Quantity] = {}
    for name in (asked, *others):
        tag, title = _tag(name), shelf.fact(f"law.chinchilla.{name}.title", name)
        found = constants_of(name, shelf)
        constants |= {f"of.{tag}.{letter}": each for letter, each in found.items()}
        fits[tag] = {
            "name": name,
            "title": title.replace("{", "(").replace("}", ")"),
            "fit": ", ".join(f"of.{tag}.{letter}" for letter in LETTERS),
            "its_loss": "expected loss" if "unique_tokens" in flags else "loss of this plan",
        }
    return fits, constants


def _tag(name: str) -> str:
    return _FORBIDDEN.sub("-", name)
