"""What `plan train` says in sentences: its title, its answer, and what a reader must not miss."""

import math

from archipel.planning.laws import scaling
from archipel.planning.quantity import Quantity
from archipel.planning.questions.train_asked import Asked
from archipel.planning.questions.train_fit import FitQ
from archipel.planning.questions.train_fleet import centre
from archipel.planning.questions.train_memory import Load, fits
from archipel.planning.questions.train_size import Size
from archipel.planning.questions.train_stages import TITLES, Run, Setup, shares_sum
from archipel.planning.requests.train import DEFAULT_BUDGET, TrainRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text


def say(quantity: Quantity) -> str:
    """A quantity's central value in words."""
    return amount_text(centre(quantity), spell(quantity.unit))


def title(run: Run, asked: Asked, request: TrainRequest) -> str:
    """What is planned, with the numbers that were asked for."""
    goals = [
        (asked.budget, f"for {request.budget or DEFAULT_BUDGET}"),
        (asked.params, f"{request.params} parameters"),
        (asked.active, f"{request.active_params} active"),
        (asked.tokens, f"{request.tokens} tokens"),
        (asked.loss, f"to a loss of {request.loss}"),
        (asked.like, f"as good as a compute-optimal {request.like}"),
        (asked.served, f"serving {request.inference_tokens} tokens"),
        (asked.unique, f"from {request.unique_tokens} distinct tokens"),
    ]
    what = "Training" if asked.stage == "all" else TITLES[asked.stage].capitalize()
    if asked.stage in ("mid", "sft", "rl"):
        what, goals = f"{what} of", [*goals[1:], goals[0]]
    named = ", ".join(text for given, text in goals if given is not None).replace(", for ", " for ")
    return f"{what} {named} on {centre(run.fleet.count):,.0f} × {run.fleet.title}"


ALMOST = 1.25
"""Sizes within this factor of the optimum count as optimal: loss is flat there."""


def verdict(run: Run, load: Load, asked: Asked, fit: FitQ) -> str:
    """One sentence that answers the question."""
    fleet = f"{centre(run.fleet.count):,.0f} × {run.fleet.kind}"
    paid = f"{say(run.bill.cost)} of rent and {_days(run)} on {fleet}"
    if not math.isfinite(centre(run.bill.hours)):
        return "No number of hours comes out under these constants: look at what --set changed."
    if run.size is None:
        stage = TITLES[asked.stage].capitalize()
        return f"{stage} on {say(run.stages[0].tokens)}s takes {paid}.{_room(run, load)}"
    size = run.size
    ratio = centre(size.tokens) / centre(size.active)
    return (
        f"{say(size.params)}eters on {say(size.tokens)}s ({ratio:,.0f} each): "
        f"{paid}; {_judged(size, asked, fit)}.{_room(run, load)}"
    )


def _days(run: Run) -> str:
    days = centre(run.bill.days)
    return f"{days:,.0f} days" if days >= 100 else f"{days:.3g} days"


def _judged(size: Size, asked: Asked, fit: FitQ) -> str:
    loss = f"expected loss {centre(size.loss):.3f} under {asked.fit}"
    if asked.params is None or size.mixture or size.data is not None:
        return loss
    flop, plain = centre(size.flop), fit.central()
    best = scaling.optimal_params(flop, plain)
    more = centre(size.loss) - scaling.best_loss(flop, plain)
    if abs(math.log(centre(size.learner) / best)) < math.log(ALMOST):
        return f"{loss}, compute-optimal within a quarter"
    word = "over-trained" if centre(size.learner) < best else "under-trained"
    return (
        f"{loss}, {word}: the optimum is {amount_text(float(best), 'param')}eters, "
        f"{float(more):.3g} nat lower"
    )


def _room(run: Run, load: Load) -> str:
    if fits(load):
        return ""
    least = centre(load.least)
    if math.isinf(least):
        return f" It does not fit into {run.fleet.title} in this layout, however many there are."
    return f" It does not fit: it needs at least {least:,.0f} accelerators."


def remarks(run: Run, load: Load, setup: Setup) -> tuple[str, ...]:
    """Caveats, what is not modelled, warnings of extrapolation."""
    found: list[str] = []
    if run.size is not None:
        found += _about_laws(run.size, setup)
    if run.learning is not None:
        found += _about_learning(run, setup.shelf)
    if setup.request.shares and (whole := shares_sum(setup.request.shares)) not in (1.0, 100.0):
        found.append(f"--shares add up to {whole:g}: they are weights, each divided by that sum.")
    found += _about_fleet(run, load, setup)
    return tuple(found)


def _about_laws(size: Size, setup: Setup) -> list[str]:
    shelf, asked = setup.shelf, setup.asked
    most = shelf["train.fitted.params_most"], shelf["train.fitted.tokens_most"]
    found = []
    if centre(size.learner) > centre(most[0]) or centre(size.tokens) > centre(most[1]):
        found.append(
            f"Extrapolated: the models behind the fits had at most {say(most[0])} and {say(most[1])}."
        )
    found.append(
        "Losses of different fits come from different texts and tokenizers: compare sizes, not losses. "
        "The interval of a fit holds A/N^α and B/D^β at the centre of its data while α and β move; "
        "A and α are never drawn apart."
    )
    if size.mixture:
        found.append(
            "A mixture of experts is taken to learn like active^(1−x)·total^x dense parameters "
            "(law.moe.total_share_exponent, assumed); its FLOP count active parameters, its memory all."
        )
    if asked.served is not None and asked.budget is not None:
        found.append(
            "The budget pays for training and for serving; the rent shown is training alone."
        )
    if asked.served is not None:
        found.append(
            "Lifetime compute counts FLOP alone. Decoding runs at a few percent utilisation, so in "
            "money even smaller models pay (Sardana and Frankle, section 4)."
        )
    if size.data is not None and asked.fit != "muennighoff":
        found.append(
            "R* was fitted together with the muennighoff constants on C4; with another fit it is borrowed."
        )
    if size.data is not None:
        found.append(
            "Muennighoff's law never lets repetition hurt; later work adds an overfitting penalty that "
            "grows with passes and shrinks with weight decay."
        )
    return found


def _about_learning(run: Run, shelf: Shelf) -> list[str]:
    skipped, learning = shelf["law.rl_curve.skipped"], run.learning
    found = [
        "The pass-rate curve is that of an 8B model on its own tasks; C_mid and R0 are not printed and "
        "are assumed. Fit your own first hours instead of trusting it."
    ]
    found.append(
        "Memory is that of learning; generators hold the bf16 weights and a cache of their own, "
        "usually on other accelerators."
    )
    if learning is not None and centre(learning.hours) < centre(skipped):
        found.append(
            f"{say(learning.hours)} of reinforcement learning is below the {say(skipped)} "
            "that the published fits leave out as noise."
        )
    return found


def _about_fleet(run: Run, load: Load, setup: Setup) -> list[str]:
    found = []
    if not fits(load):
        found.append(
            f"Memory: {_room(run, load).strip()} Cut it further with pipeline parallelism."
        )
    if not setup.request.mfu:
        most = Draws().estimate(setup.shelf["utilisation.spread"]).high
        found.append(
            f"Utilisation is fitted to documented training, nine tenths of which lie within {most:.1f} times "
            "of it (plan check --coverage). Measure yours on one server and give it with --mfu."
        )
    found.append(
        "Not in the rent: failed runs and experiments (a line of its own), data, storage, staff. "
        "6ND leaves attention out: --attention."
    )
    return found
