"""The two variants of the loss laws as tables: lifetime inference, and repeated data."""

from typing import Any

from archipel.planning.laws import inference_aware, repeated_data, scaling
from archipel.planning.laws.scaling import Fit
from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions import train_fit
from archipel.planning.questions.train_curves import band, log_grid
from archipel.planning.questions.train_fit import FitQ, Repeats
from archipel.planning.questions.train_fleet import centre
from archipel.planning.questions.train_size import Size


def served_table(size: Size, fit: FitQ, served: Quantity) -> Table:
    """Training and lifetime inference together, against the cheapest model to train of the same loss."""

    def law(loss: Any, of: Fit) -> Any:
        return scaling.optimal_params(scaling.flop_for_loss(loss, of), of)

    goal = (size.loss, "nat/token")
    words = ("size that reaches train.loss at least training compute", "parameters")
    plain = fit.apply("served.plain.params", "param", [goal], law, words)
    words = ("tokens after which it reaches train.loss", "tokens")
    inputs = [goal, (plain, "param")]
    tokens = fit.apply("served.plain.tokens", "token", inputs, scaling.tokens_for_loss, words)
    here = _lifetime(size.active, size.tokens, served, "served.lifetime_flop")
    there = _lifetime(plain, tokens, served, "served.plain.lifetime_flop")
    saved = (there - here).named("served.saving", "lifetime compute saved", "FLOP")
    share = (saved / there).named(
        "served.saving_share", "share of lifetime compute saved", "percent"
    )
    return Table(
        "Training and lifetime inference together, 6·N·D + 2·N·T (Sardana and Frankle)",
        ("", "parameters", "tokens", "lifetime FLOP"),
        (
            ("this plan", size.params, size.tokens, here),
            ("same loss, cheapest to train", plain, tokens, there),
            ("saved by this plan", share, "", saved),
        ),
    )


def _lifetime(params: Quantity, tokens: Quantity, served: Quantity, name: str) -> Quantity:
    return derive(
        name,
        "FLOP",
        [(params, "param"), (tokens, "token"), (served, "token")],
        inference_aware.lifetime_flop,
        "6·N·D + 2·N·T",
        "training and lifetime inference",
    )


def repeats_table(size: Size, fits: list[FitQ], data: Repeats) -> Table:
    """What repetition costs here, and the best size for the same compute under each fit."""
    fit = fits[0]
    epochs = (size.tokens / data.unique).named("data.epochs", "passes over the data")
    worth = derive(
        "data.effective_tokens",
        "token",
        [(size.tokens, "token"), *data.parents],
        lambda d, u, rd, rn: repeated_data.effective_tokens(d, u, repeated_data.Decay(rd, rn)),
        "U + U·R*·(1 − exp(−R/R*)), R = passes − 1",
        "what they are worth in distinct tokens",
    )
    fresh = train_fit.loss(
        fit, size.learner, size.tokens, "data.fresh_loss", "loss if all tokens differed"
    )
    penalty = (size.loss - fresh).named("data.penalty", "loss that repetition costs")
    rows: list[tuple[Cell, ...]] = [(each.about, each) for each in (epochs, worth, fresh, penalty)]
    for each in fits:
        name = f"data.{each.name}"
        best = train_fit.best_params_repeated(each, size.flop, data, f"{name}.params")
        tokens = (size.flop / (6.0 * best) * _unit()).named(f"{name}.tokens", "tokens", "token")
        passes = (tokens / data.unique).named(f"{name}.epochs", "passes")
        rows += [
            (f"best parameters under {each.name}", best),
            (f"best number of passes under {each.name}", passes),
        ]
    return Table("Repeated data (Muennighoff et al.)", ("", ""), tuple(rows))


def _unit() -> Quantity:
    return derive("", "param*token/FLOP", (), lambda: 1.0, "1 parameter·token per FLOP")


def isoflop_chart(size: Size, fits: list[FitQ]) -> Lines:
    """Loss of every size for the same compute, under each fit; a band for the first."""
    flop, chosen = centre(size.flop), centre(size.learner)
    params = log_grid(chosen / 30.0, chosen * 30.0, 80)
    tokens = flop / inference_aware.TRAINING / params
    series = []
    for place, fit in enumerate(fits):
        line = scaling.loss(params, tokens, fit.central())
        low: Any = ()
        high: Any = ()
        if place == 0:
            constants = [each for each, _ in fit.parents]
            low, high = band(constants, lambda *of: scaling.loss(params, tokens, Fit(*of)))
        series.append(Series(fit.name, params, line, low, high, "dashed" if place else "line"))
    return Lines(
        f"Loss against size for the same {spoken_flop(flop)} FLOP",
        "parameters",
        "loss, nat per token",
        tuple(series),
        log_x=True,
        mark_x=((chosen, "this plan"),),
    )


def spoken_flop(flop: float) -> str:
    """`1.8e22`."""
    return f"{flop:.2g}".replace("e+", "e")


def epochs_chart(size: Size, fit: FitQ, data: Repeats) -> Lines:
    """Loss of this size against passes over the data, repeated and if all were fresh."""
    passes = log_grid(1.0, 100.0, 60)
    unique, params = centre(data.unique), centre(size.learner)
    stars = [data.rd_star, data.rn_star]

    def law(rd: Any, rn: Any, *of: Any) -> Any:
        decay = repeated_data.Decay(rd, rn)
        return repeated_data.repeated_loss(params, passes * unique, unique, Fit(*of), decay)

    constants = [*stars, *(each for each, _ in fit.parents)]
    centres = [centre(each) for each in constants]
    low, high = band(constants, law)
    fresh = scaling.loss(params, passes * unique, fit.central())
    here = centre(size.tokens) / unique
    return Lines(
        "Loss against passes over the data",
        "passes",
        "loss, nat per token",
        (
            Series("repeated", passes, law(*centres), low, high),
            Series("all tokens fresh", passes, fresh, style="dashed"),
        ),
        log_x=True,
        mark_x=((here, "this plan"),),
    )
