"""What holds for every question: sources, unique names, plain data, a picture, one screen, the same bytes again."""

import json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from archipel.planning.answering import Setting, answer, for_json, names
from archipel.planning.asking import Ask, again
from archipel.planning.drawing import composed, folded, picture, written
from archipel.planning.explaining import explained
from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import Stated, ancestry
from archipel.planning.requests import REQUESTS, options_of
from archipel.planning.sampling import Draws
from archipel.planning.wording import plan_text
from planning.asked import FEW, data

QUESTIONS = tuple(REQUESTS)


def _ask(question: str, setting: Setting = FEW) -> Ask:
    return Ask(question, REQUESTS[question](), setting)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_number_has_a_source_or_a_formula(question: str) -> None:
    found = data(question)
    assert 1 <= len(found["answers"]) <= 8
    for name, row in found["quantities"].items():
        assert row["about"] or "formula" in row, f"{name} says not what it is"
        assert ("formula" in row) != ("source" in row), name
        assert row["kind"] in ("measured", "published", "derived", "assumed"), name


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_name_means_one_quantity(question: str) -> None:
    plan = _ask(question).plan()
    seen: dict[str, int] = {}
    cells = [c for t in plan.tables for row in t.rows for c in row if not isinstance(c, str)]
    for quantity in ancestry([*plan.answers, *cells]):
        if quantity.name and not isinstance(quantity.origin, Stated):
            assert seen.setdefault(quantity.name, id(quantity)) == id(quantity), quantity.name


@pytest.mark.parametrize("question", QUESTIONS)
def test_data_is_json_and_the_same_twice(question: str) -> None:
    first, second = data(question), _ask(question).data()
    assert json.dumps(for_json(first), allow_nan=False) == json.dumps(
        for_json(second), allow_nan=False
    )


@pytest.mark.parametrize("question", QUESTIONS)
def test_intervals_hold_the_value_more_or_less(question: str) -> None:
    """A central value far outside its own interval is a unit or sampling mistake."""
    found = answer(_ask(question).plan(), Setting(samples=400))
    for name in found["answers"]:
        row = found["quantities"][name]
        reach = max(row["high"] - row["low"], 1e-9 * abs(row["value"]))
        assert row["low"] - reach <= row["value"] <= row["high"] + reach, name


@pytest.mark.parametrize("question", QUESTIONS)
def test_text_fits_its_screen(question: str) -> None:
    found = data(question)
    brief = plan_text(found, brief=True).splitlines()
    assert len(brief) <= 50
    assert len(plan_text(found).splitlines()) <= 180


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_explains_itself(question: str) -> None:
    plan = _ask(question).plan()
    for quantity in plan.answers:
        text = explained(quantity, Draws(count=50))
        assert text.startswith(quantity.name)
    assert {a.name for a in plan.answers} <= set(names(plan))


@pytest.mark.parametrize(
    "question",
    [each if each == "lab" else pytest.param(each, marks=pytest.mark.slow) for each in QUESTIONS],
)
def test_a_picture_is_written_and_no_word_of_it_is_cut_at_its_edge(question: str) -> None:
    figure = composed(data(question))
    assert ET.fromstring(written(figure, "svg")).tag.endswith("svg")
    left, right = figure.bbox.x0, figure.bbox.x1
    for text in figure.findobj(Text):
        box = text.get_window_extent()
        is_shown = text.get_visible() and left < (box.x0 + box.x1) / 2 < right
        if text.get_text() and is_shown:  # marks of an axis beyond its end are not
            assert left - 1 <= box.x0, text.get_text()
            assert box.x1 <= right + 1, text.get_text()


def test_a_picture_comes_in_both_forms_and_in_the_same_bytes() -> None:
    found = data("lab")
    assert picture(found, "png").startswith(b"\x89PNG")
    assert picture(found, "svg") == picture(found, "svg"), "the same plan gives the same bytes"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "word", "$5,000", "Wide-Letters-MMM"]), max_size=30))
def test_a_title_is_folded_by_the_width_of_its_letters(words: list[str]) -> None:
    lines = folded(" ".join(words), 200.0, 10).splitlines()
    assert " ".join(lines).split() == words
    for line in lines:
        width = TextPath((0, 0), line.replace("$", r"\$"), size=10).get_extents().width
        assert width <= 200.0


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_saved_plan_can_be_asked_again(question: str) -> None:
    found = data(question)
    saved = json.loads(json.dumps(for_json(found)))
    assert again(saved, "x.json").data()["quantities"] == found["quantities"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_option_has_words(question: str) -> None:
    for each in options_of(REQUESTS[question]):
        assert each.metadata["help"]
        assert each.name.islower()


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({}, "expected a plan saved"),
        ({"question": "lba", "request": {}}, "did you mean 'lab'"),
        ({"question": "lab", "request": {"knd": "h100"}}, "did you mean 'kind'"),
        (
            {"question": "lab", "request": {}, "setting": {"sed": 1}},
            "seed, samples, as_of, region and spot",
        ),
        ({"question": "lab", "request": {}, "setting": {"samples": 10**9}}, "expected 1 to"),
        ({"question": "lab", "request": {}, "setting": {"samples": 0}}, "expected 1 to"),
        ({"question": "lab", "request": {}, "setting": {"samples": "100"}}, "whole number"),
        ({"question": "lab", "request": {}, "setting": {"samples": True}}, "whole number"),
        ({"question": "lab", "request": {}, "setting": {"as_of": 2025}}, "text as as_of"),
        ({"question": "lab", "request": {}, "setting": {"region": 5}}, "as as_of and as region"),
        ({"question": "lab", "request": {"kind": 5}}, "kind: got 5, expected a text"),
        ({"question": "lab", "request": {"kind": None}}, "expected a text"),
        ({"question": "lab", "request": [], "own": 5}, "expected a plan saved"),
        ({"question": "lab", "request": {}, "own": 5}, "a table as own"),
        ({"question": "lab", "request": {}, "overrides": [5]}, "list of texts as overrides"),
        ({"question": "lab", "request": {}, "overrides": None}, "list of texts as overrides"),
    ],
)
def test_what_is_not_a_saved_plan_is_refused_by_name(saved: dict, expected: str) -> None:
    with pytest.raises(CannotPlan, match=expected):
        again(saved, "x.json")


def test_more_samples_than_can_be_drawn_are_refused() -> None:
    with pytest.raises(CannotPlan, match="--samples: got 0"):
        _ask("lab", Setting(samples=0)).data()


def test_what_is_set_and_not_used_is_said_with_the_nearest_name() -> None:
    own = {"rentl": {"h100": {"value": 2, "unit": "USD/h", "kind": "measured", "source": "x"}}}
    found = Ask("lab", REQUESTS["lab"](), FEW, own, ("rental.t4=1",)).data()
    assert any("rentl.h100" in text and "rental.h100?" in text for text in found["notices"])
    assert any("rental.t4 is set" in text for text in found["notices"])
    assert "rentl.h100" in plan_text(found, brief=True), "notices stand in every form"


def test_amounts_in_euros_are_taken_at_a_rate_that_is_said_and_can_be_set() -> None:
    asked = REQUESTS["train"](budget="100k EUR")
    given = Ask("train", asked, FEW, overrides=("rental.h100=2 EUR/h", "currency.eur=1.5")).data()
    dollars = data("train", "rental.h100=$3/h", budget="150k USD")
    assert given["answers"] == dollars["answers"]
    for name in given["answers"]:
        expected = dollars["quantities"][name]["value"]
        assert given["quantities"][name]["value"] == pytest.approx(expected)
    (notice,) = given["notices"]
    assert "1 EUR is taken as 1.5 USD" in notice
    assert again(given, "saved").overrides == ("rental.h100=2 EUR/h", "currency.eur=1.5")
    assert not dollars["notices"]
