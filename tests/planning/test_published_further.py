"""Further published figures, each asked with the words one would type after `archipel plan`."""

import pytest

from archipel.planning.checking import check, checked_text, chosen, figures
from archipel.planning.mistakes import UnknownName
from archipel.planning.tables import bibliography
from archipel.planning.units import factor, unit

FIGURES = figures()


@pytest.mark.parametrize("name", FIGURES)
def test_the_command_line_answers_what_was_published(name: str) -> None:
    found = check(name)
    assert found.computed == pytest.approx(found.published, rel=found.tolerance), found.source


def test_every_figure_has_a_known_source_and_unit() -> None:
    for name, figure in FIGURES.items():
        assert figure["source"] in bibliography(), name
        assert factor(unit(figure["unit"]), unit(figure["unit"])) == 1.0, name


def test_tolerances_are_tight_enough_to_mean_something() -> None:
    assert max(figure["tolerance"] for figure in FIGURES.values()) <= 0.15
    assert sorted(f["tolerance"] for f in FIGURES.values())[len(FIGURES) // 2] <= 0.02


def test_a_figure_that_differs_is_said_to_differ() -> None:
    found = check(chosen("flop-gpt3-13b")[0])
    assert found.agrees
    wrong = type(found)(**{**vars(found), "published": found.published * 2})
    assert not wrong.agrees
    assert "DIFFERS" in checked_text([wrong])
    assert "0 of 1 agree" in checked_text([wrong])


def test_an_unknown_figure_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown published figure"):
        chosen("flop-gpt9")
