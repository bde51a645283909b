"""Question files: bounded reading, held-out questions, exact numbers."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.training.environments import jsonl
from archipel.training.environments.answers import final_number
from archipel.training.environments.jsonl import BadProblemFile, Jsonl, read_problems
from archipel.training.environments.numerals import MAX_NUMBER_CHARS
from archipel.training.environments.task import InvalidEnvironment, split_of

EXCERPT = Path(__file__).parents[1] / "vectors" / "gsm8k_excerpt.jsonl"
"""Five problems of GSM8K (Cobbe et al. 2021), MIT, github.com/openai/grade-school-math."""


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problems(count, start=0):
    return [
        {"question": f"What is {n} plus {n}?", "answer": f"{n} + {n} = {2 * n}.\n#### {2 * n}"}
        for n in range(start, start + count)
    ]


@pytest.fixture
def sums(tmp_path):
    return Jsonl({"path": str(write(tmp_path / "sums.jsonl", problems(60)))}, seed=0)


def test_the_published_form_is_read_and_its_own_answers_earn_full_reward(tmp_path):
    rows = [problem.answer for problem in read_problems(EXCERPT)]
    assert [final_number(answer) for answer in rows] == [18, 3, 70_000, 540, 20]
    path = write(tmp_path / "train.jsonl", problems(60))
    environment = Jsonl({"path": str(path), "test_path": str(EXCERPT)}, seed=0)
    for index, answer in enumerate(rows):
        task = environment.task("test", index)
        assert sum(environment.grade(task, text, True) for text in rows) == 1.0, answer


@given(st.integers(-(10**12), 10**12))
def test_every_way_of_writing_an_integer_is_the_same_number(value):
    sign = "-" if value < 0 else ""
    digits = str(abs(value))
    for text in (
        f"{value}",
        f"{value:,}",
        f"{value}.",
        f"{value}.00",
        f"{sign}${digits}",
        f"$ {value}".replace("$ -", "-$"),
        f"{2 * value}/2",
        f"{value} dollars",
        f"**{value:,}**",
    ):
        assert final_number(f"so it is\n#### {text}") == value, text


SHORT_FRACTIONS = st.fractions(-(10**40), 10**40, max_denominator=10**6)
"""Within what is read as a number at all."""


@given(SHORT_FRACTIONS, SHORT_FRACTIONS)
def test_two_fractions_are_equal_only_if_their_values_are(one, other):
    read = [final_number(f"#### {value}") for value in (one, other)]
    assert read == [one, other]
    assert (read[0] == read[1]) == (one == other)


@given(st.decimals(-(10**9), 10**9, places=4, allow_nan=False))
def test_decimals_are_exact(value):
    assert final_number(f"#### {value:f}") == Fraction(value)


@given(st.text())
def test_any_text_gives_a_number_or_none(text):
    for anywhere in (False, True):
        assert isinstance(final_number(text, anywhere), Fraction | None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 1 #### 2", 2),
        ("#### 17\nwait, 18", 17),
        ("#### 1 2 3", None),
        ("#### -0", 0),
        ("#### .5", Fraction(1, 2)),
        ("#### 1,000,000.25", Fraction(4_000_001, 4)),
        ("####12%", 12),
        ("#### 1/0", None),
        ("#### none", None),
        ("####", None),
        ("the answer is 18", None),
        ("#### " + "9" * (MAX_NUMBER_CHARS + 1), None),
    ],
)
def test_the_number_right_after_the_last_mark_counts(text, value):
    assert final_number(text) == value


def test_the_last_number_of_the_text_counts_only_where_allowed(tmp_path):
    path = str(write(tmp_path / "sums.jsonl", problems(60)))
    strict, free = Jsonl({"path": path}, 0), Jsonl({"path": path, "answer_anywhere": True}, 0)
    task = strict.task("train", 0)
    text = f"it is {task.detail['answer']}"
    assert (strict.grade(task, text, True), free.grade(task, text, True)) == (0.0, 1.0)


def test_worked_answers_earn_full_reward_and_nothing_when_cut(sums):
    for index in range(20):
        task = sums.task("train", index)
        prompt, answer = sums.supervised(index)
        assert prompt == task.prompt
        assert sums.grade(task, answer, True) == 1.0
        assert sums.grade(task, answer, False) == 0.0


def test_no_question_is_in_two_splits(tmp_path):
    train = write(tmp_path / "train.jsonl", problems(80))
    test = write(tmp_path / "test.jsonl", problems(20, start=70))
    for values in ({"path": str(train)}, {"path": str(train), "test_path": str(test)}):
        environment = Jsonl(values, seed=3)
        prompts = [
            {environment.task(split, index).prompt for index in range(200)}
            for split in ("train", "dev", "test")
        ]
        assert sum(map(len, prompts)) == len(set.union(*prompts))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad\.jsonl:2: not a JSON object"),
        ("[1]", r"bad\.jsonl:2: expected text fields"),
        ('{"question": "x"}', r"bad\.jsonl:2: expected text fields"),
        ('{"question": "x", "answer": 3}', r"bad\.jsonl:2: expected text fields"),
        ('{"question": "x", "answer": "3"}', r"bad\.jsonl:2: the answer does not end"),
        ("[" * 40_000, r"bad\.jsonl:2: not a JSON object"),
        (r'{"question": "cut \ud83d", "answer": "#### 1"}', r"bad\.jsonl:2: .* surrogate"),
        (r'{"question": "x", "answer": "\udc00 #### 1"}', r"bad\.jsonl:2: .* surrogate"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(problems(1)[0]) + "\n" + line + "\n")
    with pytest.raises(BadProblemFile, match=message):
        read_problems(path)


def test_reading_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "many.jsonl", problems(10))
    for limit, value in (("MAX_FILE_BYTES", 100), ("MAX_LINE_BYTES", 20), ("MAX_PROBLEMS", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(jsonl, limit, value)
            with pytest.raises(BadProblemFile, match="than"):
                read_problems(path)


def test_files_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(BadProblemFile, match="cannot read"):
        read_problems(tmp_path / "absent.jsonl")
    with pytest.raises(BadProblemFile, match="no problem"):
        read_problems(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(InvalidEnvironment, match="too small"):
        Jsonl({"path": str(write(tmp_path / "one.jsonl", problems(1)))}, 0)


def test_a_template_without_the_question_is_refused(tmp_path):
    path = str(write(tmp_path / "sums.jsonl", problems(60)))
    with pytest.raises(InvalidEnvironment, match="question"):
        Jsonl({"path": path, "template": "Answer:"}, 0)


def test_a_question_that_cannot_be_written_down_belongs_to_no_split():
    with pytest.raises(InvalidEnvironment, match="surrogate"):
        split_of("cut \ud83d")
