"""Measured speeds of engines of 2025 and 2026: what is kept is what the fit makes, and how far it holds."""

import datetime
import tomllib
from importlib import resources

import numpy as np
import pytest

from archipel.planning import covering, serving_fit, serving_rows
from archipel.planning.checking import figures
from archipel.planning.tables import bibliography, shelf

TEXT = (
    resources.files("archipel.planning").joinpath("measured", serving_rows.ROWS).read_text("utf-8")
)
MEASURED = tomllib.loads(TEXT)["measured"]
KEPT = shelf()


def test_the_constants_that_are_kept_are_those_of_the_fit() -> None:
    for name, made in serving_fit.table().items():
        figure = KEPT.entry(f"serve.{name}").figure
        if name.endswith("unexplained"):
            assert (figure.value, figure.high) == (1, made), name
            assert figure.low == pytest.approx(1 / made, rel=0.005), name
        else:
            assert figure.value == made, name


def test_intervals_hold_what_was_measured_on_machines_left_out_and_speeds_never_seen() -> None:
    """Of prompts the misses are one machine, Strix Halo with the engine of July 2025, when no row of it is seen."""
    least = {"decoding": (0.89, 0.45, 140), "prompts": (0.85, 0.45, 70), "unseen": (0.9, 0.5, 20)}
    for of, (inside, close, count) in least.items():
        new, old = covering.coverage(of)
        assert new.covered >= inside > old.covered + 0.25, of
        assert new.close >= close > old.close, of
        assert new.figures == old.figures >= count, of


def test_a_row_is_dated_and_has_a_source_and_no_source_is_fitted_and_held_for_one_speed() -> None:
    seen: dict[str, bool] = {}
    for part in MEASURED:
        assert part["source"] in bibliography()
        assert part["date"] >= datetime.date(2025, 1, 1)
    for row in serving_rows.points():
        assert seen.setdefault(f"{row.source} {row.name}", row.held) == row.held
    assert len(serving_rows.points()) >= 200


def test_published_speeds_say_whether_they_were_fitted() -> None:
    """A row presented as held out is no row of the fit."""
    fitted = {round(row.seconds, 12) for row in serving_rows.points() if not row.held}
    told = [
        each
        for each in figures().values()
        if "fitted" in each and each["plan"].startswith("serve ")
    ]
    for each in told:
        words = each["plan"].split()
        streams = float(words[words.index("--batch") + 1]) if "--batch" in words else 1.0
        assert (round(streams / each["published"], 12) in fitted) == each["fitted"], each["name"]
    assert sum(not each["fitted"] for each in told) >= 10


def test_a_time_falls_with_everything_a_machine_has_more_of() -> None:
    rows = serving_fit.grouped(serving_rows.points())
    for (phase, _), some in rows.items():
        constants, _ = serving_fit.solve(some, phase, serving_fit.tried())
        assert np.all(np.isfinite(constants))
        columns = np.array([row.columns(*serving_fit.tried()) for row in some])
        assert np.all(columns >= 0)
        assert np.all((columns * np.exp(constants)).sum(axis=1) > 0)
