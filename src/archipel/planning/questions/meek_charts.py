"""`plan meek`, its curves: the gap from today and from equal budgets, leads by measure, sizes, the next point."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from archipel.planning.laws import bounded, frontier, race
from archipel.planning.plan import Lines, Series
from archipel.planning.questions.meek_law import PUBLISHED
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.wording import amount_text

ALIKE = ("meek.start", "under.exponent", "meek.shared", "frontier.meek.g_i", "meek.lead")
"""What the gap rests on when progress is alike at every scale."""


def charts(of: Sheet, law: str, years: float, by_points: bool) -> tuple[Lines, ...]:
    """Every curve; `years` ahead, `by_points` if an improvement is valued by the benchmark point."""
    draws = Draws(0, 200)
    return (
        _gap(of, years, draws),
        _measures(of, years, draws),
        _from_equal(of, law, years, draws),
        _sizes(of, years, draws),
        _next_point(of, by_points, draws),
    )


def _centres(of: Sheet, names: Sequence[str], draws: Draws) -> list[np.float64]:
    return [np.float64(draws.centre(of[name])) for name in names]


def _band(
    label: str,
    x: np.ndarray,
    path: Callable[..., Any],
    of: Sheet,
    names: Sequence[str],
    draws: Draws,
) -> Series:
    """A curve at central values with the 90% band of the samples."""
    centre = path(x, *_centres(of, names, draws))
    worlds = path(x[:, None], *(np.atleast_1d(draws.samples(of[name])) for name in names))
    worlds = np.broadcast_to(worlds, (len(x), draws.count))
    low, high = np.percentile(worlds, [5.0, 95.0], axis=1, method="nearest")
    return Series(label, tuple(x), tuple(centre), tuple(low), tuple(high))


def _gap(of: Sheet, ahead: float, draws: Draws) -> Lines:
    """The gap from today, progress alike at every scale and not."""
    years = np.linspace(0.0, ahead, 46)
    scaled = ("meek.now", "meek.lead", *of.arguments("growing"))
    lines = (
        _band("progress alike at every scale", years, frontier.loss_gap, of, ALIKE, draws),
        _band("progress by scale (arXiv 2511.21622)", years, race.scaled_gap, of, scaled, draws),
    )
    threshold = draws.centre(of["meek.threshold"])
    flat = Series("no longer matters", (0.0, ahead), (threshold, threshold), style="dashed")
    return Lines(
        "Loss gap from today", "years from today", "nat per token", (*lines, flat), log_y=True
    )


def _measures(of: Sheet, ahead: float, draws: Draws) -> Lines:
    """Each lead as a multiple of what it is today."""
    years = np.linspace(0.0, ahead, 46)
    gap = frontier.loss_gap(years, *_centres(of, ALIKE, draws))
    path = ("meek.now", "meek.lead", "meek.shared", "frontier.meek.g_i", *of.arguments("curve"))
    score = race.points_apart(years, *_centres(of, path, draws))
    lead, own, power = _centres(
        of, ("meek.lead", "frontier.meek.g_i", "meek.task_elasticity"), draws
    )
    tasks = bounded.power_lead(bounded.compute_lead(years, own), power)
    nines = 1.0 + years * np.log(own) / np.log(lead)
    series = (
        Series("loss (bounded)", tuple(years), tuple(gap / gap[0])),
        Series("MMLU points (bounded)", tuple(years), tuple(score / score[0])),
        Series("nines of reliability (unbounded)", tuple(years), tuple(nines), style="dashed"),
        Series("task length (unbounded)", tuple(years), tuple(tasks), style="dashed"),
    )
    title, beside = "The same lead on different measures", "lead, as a multiple of today's"
    return Lines(title, "years from today", beside, series, log_y=True)


def _from_equal(of: Sheet, law: str, ahead: float, draws: Draws) -> Lines:
    """The gap over the years since equal budgets: the published law and the one asked for, with its band."""
    years = np.linspace(0.0, max(ahead, 12.0), 61)
    series, marks = [], []
    for name in [name for name in of.entries("races") if name in (PUBLISHED, law)]:
        inputs = (
            f"meek.start.{name}",
            *(f"race.{name}.{part}" for part in ("exponent", "shared", "own")),
        )
        line = _band(name, years, frontier.loss_gap, of, inputs, draws)
        series.append(line if name == law else replace(line, low=(), high=(), style="dashed"))
        marks.append((draws.centre(of[f"meek.peak_time.{name}"]), f"widest ({name})"))
    lead, own = _centres(of, ("meek.lead", "frontier.meek.g_i"), draws)
    marks.append((float(np.log(lead) / np.log(own)), "today's spending ratio"))
    title = f"Loss gap after equal budgets of {amount_text(draws.centre(of['meek.c0']), 'FLOP')}"
    along, beside = "years since both spent the same", "nat per token"
    return Lines(title, along, beside, tuple(series), mark_x=tuple(marks))


def _sizes(of: Sheet, ahead: float, draws: Draws) -> Lines:
    """Runnable size over the years under each source, and the frontier's."""
    years = np.linspace(0.0, ahead, 31)
    names = ("meek.run.frontier_size", "meek.run.frontier_growth", "meek.run.size")
    size, growth, small = _centres(of, names, draws)
    lead = size * growth**years
    series = [Series("the frontier trains", tuple(years), tuple(lead), style="dashed")]
    for key in of.entries("falls"):
        rate = draws.centre(of[of.fill("{rate}", of.words_of(key))])
        grown = np.minimum(small * rate**years, lead)
        series.append(Series(of.words_of(key)["label"], tuple(years), tuple(grown)))
    price = amount_text(draws.centre(of["frontier.meek.inference_price"]) * 1e6, "USD")
    title = f"Size of the models that run at {price} for a million tokens"
    return Lines(title, "years from today", "effective parameters", tuple(series), log_y=True)


def _next_point(of: Sheet, by_points: bool, draws: Draws) -> Lines:
    """Price of one more benchmark point over compute, and where it passes its worth."""

    def price(flop: Any, each: Any, *law: Any) -> Any:
        return each * flop / race.points_of_doubling(flop, *law)

    grid = np.logspace(21.5, 27.5, 61)
    lines = [
        _band("price of a point", grid, price, of, ("meek.price", *of.arguments("curve")), draws)
    ]
    if by_points:
        worth = draws.centre(of[of.fill("{worth}")])
        lines.append(Series("its worth", (grid[0], grid[-1]), (worth, worth), style="dashed"))
    return Lines(
        "Price of the next MMLU point by doubling compute",
        "training compute, FLOP",
        "USD per point",
        tuple(lines),
        log_x=True,
        log_y=True,
        mark_x=((draws.centre(of["meek.stop.flop"]), "stops paying"),),
    )
