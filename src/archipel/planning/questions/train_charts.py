"""The curves of `plan train`: loss by size and by passes, the pass rate by hours, days by the fleet; and its bars."""

from collections.abc import Sequence
from dataclasses import replace

from archipel.planning.plan import Bars, Chart, Lines
from archipel.planning.quantity import Quantity, pure
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.questions.sheet import Sheet
from archipel.planning.questions.train_asked import Asked, centre
from archipel.planning.sweeping import curve, spaced


def charts(run: Sheet, held: Sheet, asked: Asked) -> tuple[Chart, ...]:
    """Every chart of what was asked."""
    found: list[Chart] = []
    if run.get("size.flop"):
        found.append(_isoflop(run, asked))
    if run.get("data.epochs"):
        found.append(_epochs(run))
    if run.get("rl.hours"):
        found.append(_learning(run))
    stages = asked.parts["stages"]
    costs = [(run.words_of(name)["title"], run[f"{name}.cost"]) for name in stages]
    if len(costs) > 1:
        found.append(Bars("Rent by stage", tuple(costs), "USD"))
    found.append(_days(run, asked))
    parts = [(name.removeprefix("memory."), held[name]) for name in held.entries("parts")]
    return (*found, Bars("Memory of one accelerator", tuple(parts), "GB/accelerator"))


def _law(name: str, inputs: Sequence[Quantity], run: Sheet, constants: str) -> Quantity:
    """A law of inputs and of constants that are listed after commas."""
    return LAWS[name]([*inputs, *(run[each.strip()] for each in constants.split(","))])


def _isoflop(run: Sheet, asked: Asked) -> Lines:
    """Loss of every size for the same compute, under each fit; a band for the first."""
    flop, chosen = centre(run["size.flop"]), centre(run["size.learner"])
    size = pure(chosen, "param")
    tokens = pure(flop / 6.0, "param*token") / size
    places = spaced(chosen / 30.0, chosen * 30.0, 80)
    series = []
    for place, words in enumerate(asked.parts["fits"].values()):
        loss = _law("loss", [size, tokens], run, words["fit"])
        line = curve(words["name"], loss, size, places, banded=not place)
        series.append(replace(line, style="dashed" if place else "line"))
    spoken = f"{flop:.2g}".replace("e+", "e")
    return Lines(
        f"Loss against size for the same {spoken} FLOP",
        "parameters",
        "loss, nat per token",
        tuple(series),
        log_x=True,
        mark_x=((chosen, "this plan"),),
    )


def _epochs(run: Sheet) -> Lines:
    """Loss of this size against passes over the data, repeated and if all were fresh."""
    passes, size = pure(1.0), pure(centre(run["size.learner"]), "param")
    tokens, places = passes * run["asked.unique"], spaced(1.0, 100.0, 60)
    repeated = _law("repeated_loss", [size, tokens], run, run.fill("{under}"))
    fresh = _law("loss", [size, tokens], run, run.fill("{fit}"))
    line = curve("all tokens fresh", fresh, passes, places, banded=False)
    return Lines(
        "Loss against passes over the data",
        "passes",
        "loss, nat per token",
        (curve("repeated", repeated, passes, places), replace(line, style="dashed")),
        log_x=True,
        mark_x=((centre(run["data.epochs"]), "this plan"),),
    )


def _learning(run: Sheet) -> Lines:
    """The compute curve of the recipe, with where the stage ends."""
    hours, recipe = pure(1.0, "accelerator*h"), run.words["recipe"]
    rate = _law("pass_rate", [hours], run, run.fill("{curve_of}")).to("percent")
    return Lines(
        f"Pass rate against RL compute ({recipe}, 8B model)",
        "accelerator-hours",
        "pass rate, percent",
        (curve(recipe, rate, hours, spaced(100.0, 200_000.0, 60)),),
        log_x=True,
        mark_x=((centre(run["rl.hours"]), "this plan"),),
    )


def _days(run: Sheet, asked: Asked) -> Lines:
    """How long the same work takes on fewer or more accelerators, failures included."""
    count = centre(run["train.accelerators"])
    fleet = pure(count, "accelerator")
    words = {each: run.words[each] for each in ("group", "least")}
    failing = Sheet("failures", asked.shelf, words, {"job.accelerators": fleet})
    work = run["train.accelerator_hours"] * run["train.goodput"]
    days = (work / failing["train.goodput"] / fleet).to("day")
    places = spaced(max(1.0, count / 16.0), count * 16.0, 50)
    return Lines(
        f"Days against the number of {run.words['kind']}",
        "accelerators",
        "days",
        (curve("failures included", days, fleet, places),),
        log_x=True,
        log_y=True,
        mark_x=((count, "this plan"),),
    )
