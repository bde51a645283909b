"""Further published figures, each asked with the words one would type after `archipel plan`."""

import shlex
from functools import cache
from typing import Any

import pytest

from archipel.planning.tables import bibliography
from archipel.planning.units import factor, unit
from planning.asked import data, figures, value

FIGURES = figures("further")


@cache
def _asked(words: str) -> dict[str, Any]:
    """The answer to `train --params 70B --set NAME=AMOUNT ...`."""
    question, *rest = shlex.split(words)
    request: dict[str, str] = {}
    overrides: list[str] = []
    for option, amount in zip(rest[::2], rest[1::2], strict=True):
        assert option.startswith("--"), words
        if option == "--set":
            overrides.append(amount)
        else:
            request[option[2:].replace("-", "_")] = amount
    return data(question, *overrides, as_of=request.pop("as_of", ""), **request)


def _computed(figure: dict[str, Any]) -> float:
    found, answer = _asked(figure["plan"]), figure["answer"]
    if " / " in answer:
        above, below = (value(found, name) for name in answer.split(" / "))
        return above / below
    if "beside" in figure:
        return value(found, answer) / value(_asked(figure["beside"]), answer)
    return sum(value(found, name, figure["unit"]) for name in answer.split(" + "))


@pytest.mark.parametrize("name", FIGURES)
def test_the_command_line_answers_what_was_published(name: str) -> None:
    figure = FIGURES[name]
    assert _computed(figure) == pytest.approx(figure["published"], rel=figure["tolerance"]), figure[
        "source"
    ]


def test_every_figure_has_a_known_source_and_unit() -> None:
    for name, figure in FIGURES.items():
        assert figure["source"] in bibliography(), name
        assert factor(unit(figure["unit"]), unit(figure["unit"])) == 1.0, name
