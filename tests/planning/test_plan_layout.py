"""No line is wider than the terminal, nothing is lost on the way, and a file keeps a row on a line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.planning.asking import Ask
from archipel.planning.layout import NARROWEST, lined_up, wrapped
from archipel.planning.requests import REQUESTS
from archipel.planning.wording import plan_text, value_text
from planning.asked import FEW

WORDS = st.lists(st.text("abcdefgh-0129", min_size=1, max_size=9), max_size=12).map(" ".join)
ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=6)


@settings(max_examples=60)
@given(ROWS, st.integers(3 * NARROWEST + 4, 140))
def test_a_table_fits_its_width_and_keeps_every_word(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    lines = lined_up(("what", "how much", ""), rows, width)
    assert all(len(line) <= width for line in lines)
    shown = " ".join(lines).split()
    for row in rows:
        for cell in row:
            assert all(word in shown for word in cell.split())


@settings(max_examples=20)
@given(ROWS)
def test_without_a_width_a_row_is_a_line(rows: list[tuple[str, str, str]]) -> None:
    assert len(lined_up(("what", "how much", ""), rows)) == len(rows) + 1


def test_words_stay_whole_where_there_is_room_for_them() -> None:
    rows = [("a long sentence about something that takes space", "train.accelerator_hours")]
    lines = lined_up(("", ""), rows, 50)
    assert any(line.endswith("train.accelerator_hours") for line in lines)


def test_a_table_for_which_there_is_no_room_becomes_records() -> None:
    rows = [("the first thing", "1 unit", "2 units", "3 units", "4 units")]
    lines = lined_up(("", "b", "c", "d", "e"), rows, 40)
    assert lines == [
        "the first thing",
        "  b: 1 unit",
        "  c: 2 units",
        "  d: 3 units",
        "  e: 4 units",
    ]


@pytest.mark.parametrize("question", REQUESTS)
def test_a_plan_says_its_verdict_first_and_fits_the_terminal(question: str) -> None:
    data = Ask(question, REQUESTS[question](), FEW).data()
    for width, tables in ((80, False), (40, False), (80, True), (40, True)):
        lines = plan_text(data, tables=tables, width=width).splitlines()
        assert max(map(len, lines)) <= width
        said = wrapped(data["title"], width) + wrapped(data["verdict"], width)
        assert lines[: len(said)] == said
    short = plan_text(data, width=80).splitlines()
    assert len(short) <= 27
    assert len(plan_text(data, brief=True, width=80).splitlines()) < len(short)
    first = data["quantities"][data["answers"][0]]
    assert any(line.startswith("What it hinges on: ") for line in short)
    assert any(value_text(first) in line for line in short)


@pytest.mark.parametrize("question", REQUESTS)
def test_what_the_first_lines_need_is_what_the_whole_answer_says(question: str) -> None:
    whole, short = (
        Ask(question, REQUESTS[question](), FEW).data(whole=each) for each in (True, False)
    )
    assert plan_text(short) == plan_text(whole)
    assert short["quantities"].items() <= whole["quantities"].items()
    for part in {*whole} - {"quantities", "tables", "charts", "disagreements"}:
        assert short[part] == whole[part], part
