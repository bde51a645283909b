"""Further published figures, each asked with the words one would type after `archipel plan`."""

import pytest

from archipel.planning.checking import check, checked_text, chosen, figures, rounding
from archipel.planning.mistakes import UnknownName
from archipel.planning.tables import bibliography
from archipel.planning.units import factor, unit

FIGURES = figures()
FIRST = {(row["source"], row["answer"]): name for name, row in reversed(FIGURES.items())}
"""One figure of each answer by each source, for CI; the others are slow."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow)
        for name in FIGURES
    ],
)
def test_the_command_line_answers_what_was_published(name: str) -> None:
    found = check(name)
    assert found.computed == pytest.approx(found.published, rel=found.tolerance), found.source


def test_every_figure_has_a_known_source_and_unit() -> None:
    for name, figure in FIGURES.items():
        assert figure["source"] in bibliography(), name
        assert factor(unit(figure["unit"]), unit(figure["unit"])) == 1.0, name


def test_tolerances_are_tight_enough_to_mean_something() -> None:
    """Measured speeds of machines, where a row says whether it was fitted, scatter more than what is computed."""
    computed = [figure for figure in FIGURES.values() if "fitted" not in figure]
    assert max(figure["tolerance"] for figure in computed) <= 0.15
    assert sorted(f["tolerance"] for f in computed)[len(computed) // 2] <= 0.02
    assert max(figure["tolerance"] for figure in FIGURES.values()) <= 0.6


def test_a_figure_that_differs_is_said_to_differ() -> None:
    found = check(chosen("flop-gpt3-13b")[0])
    assert found.agrees
    wrong = type(found)(**{**vars(found), "published": found.published * 2})
    assert not wrong.agrees
    assert "DIFFERS" in checked_text([wrong])
    assert "1 figure: 1 differs" in checked_text([wrong])


@pytest.mark.parametrize(
    ("printed", "share"),
    [
        (34.0, 0.5 / 34),
        (1.2e22, 0.05 / 1.2),
        (2.38e21, 0.005 / 2.38),
        (700.0, 5 / 700),
        (5.0, 0.01),
    ],
)
def test_rounding_is_half_of_the_last_digit_that_was_printed(printed: float, share: float) -> None:
    assert rounding(printed) == pytest.approx(share)
    assert rounding(1000 * printed) == pytest.approx(share)


@pytest.mark.parametrize(
    ("times", "grade"),
    [(1.0, "as printed"), (1.012, "as printed"), (1.014, "near"), (0.951, "near"), (0.94, "rough"),
     (1.149, "rough"), (1.151, "DIFFERS"), (0.8, "DIFFERS")],
)  # fmt: skip
def test_how_near_a_figure_came_is_one_rule_for_all_figures(times: float, grade: str) -> None:
    found = check(chosen("flop-gpt3-13b")[0])
    other = type(found)(**{**vars(found), "published": 2.31, "computed": 2.31 * times})
    assert other.grade == grade


def test_an_unknown_figure_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown published figure"):
        chosen("flop-gpt9")
