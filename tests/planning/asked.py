"""What the tests of the planner share: asking a question and reading one value, published figures, constants."""

import tomllib
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from archipel.planning.answering import Setting, named
from archipel.planning.asking import Ask
from archipel.planning.quantity import Quantity
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf
from archipel.planning.units import factor, unit

FEW = Setting(samples=50)


def data(question: str, *overrides: str, as_of: str = "", **request: Any) -> dict[str, Any]:
    """The answer to a question, with few samples: central values do not depend on them."""
    return deepcopy(_answered(question, overrides, as_of, tuple(sorted(request.items()))))


@cache
def _answered(
    question: str, overrides: tuple[str, ...], as_of: str, request: tuple[tuple[str, Any], ...]
) -> dict[str, Any]:
    """The same question has the same answer: `test_data_is_json_and_the_same_twice` holds that."""
    asked = REQUESTS[question](**dict(request))
    return Ask(question, asked, Setting(samples=50, as_of=as_of), overrides=overrides).data()


def value(found: dict[str, Any], name: str, units: str = "") -> float:
    """One central value of an answer, in the unit asked for."""
    row = found["quantities"][name]
    scale = factor(unit(row["unit"].replace("·", "*") or "1"), unit(units)) if units else 1.0
    return float(row["value"]) * scale


def centre(question: str, name: str, **request: Any) -> float:
    """One central value of an answer, of which nothing else is computed, in its own unit."""
    return Draws(count=1).centre(_planned(question, tuple(sorted(request.items())))[name])


@lru_cache(maxsize=16)
def _planned(question: str, request: tuple[tuple[str, Any], ...]) -> dict[str, Quantity]:
    return named(Ask(question, REQUESTS[question](**dict(request))).plan())


def constant(name: str, units: str = "", as_of: str = "") -> float:
    """One constant of the tables, in the unit asked for."""
    found = shelf(as_of)[name]
    scale = factor(found.unit, unit(units)) if units else 1.0
    return Draws().centre(found) * scale


@cache
def figures(area: str) -> dict[str, dict[str, Any]]:
    """The published figures of one area, by name."""
    path = Path(__file__).parent / "published" / f"{area}.toml"
    rows = tomllib.loads(path.read_text("utf-8"))["figure"]
    return {row["name"]: row for row in rows}
