"""Answers are read whole or not at all, and a reference answer is right by itself."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.training.environments.answers import final_number, make_reader
from archipel.training.environments.jsonl import BadProblemFile, Jsonl
from archipel.training.environments.task import InvalidEnvironment

WHOLE = [
    ("72 apples in 2 boxes", 72),
    ("18 dollars for 3 days", 18),
    ("72 (rounded from 71.6)", 72),
    ("1e3", 1000),
    ("1.5e3", 1500),
    ("1.5E-1", Fraction(3, 20)),
    ("10^6", 10**6),
    ("10^{6}", 10**6),
    ("10**-2", Fraction(1, 100)),
    ("1.5 x 10^3", 1500),
    (r"1.5 \times 10^{3}", 1500),
    ("USD72", 72),
    ("US$ 72.50", Fraction(145, 2)),
    ("12,34,567", 1_234_567),
    ("1 1/2 cups", Fraction(3, 2)),
    (r"$\frac{1}{2}$", Fraction(1, 2)),
    (r"\boxed{72}", 72),
    ("\u22125 degrees", -5),
    ("72kg", 72),
    ("5th of 10", 5),
    ("72 points", 72),
    ("3 times", 3),
    ("5 and counting", 5),
    ("5 percent", 5),
    ("5 meters to go", 5),
    ("72, because 2 boxes hold them", 72),
    ("12. So 3 are left", 12),
    ("6.02×10^23", 602 * 10**21),
]
PARTS = [
    "10 000", "1'000", "1_000", "1,5", "12,345,67", "1.2.3", "72½", "10²", "3:45", "5-6", "5 to 6",
    "5 or 6", "5 million", "5k", "2x", "2pi", "2 and a half", "3 quarters", "7 - 6", "7 + 6 = 13",
    "72!", "± 5", r"\sqrt{2}", "0x10", "1/2/3", "1e", "2^3^2", "2^0.5", "٣", "５", "about 72", "0.333...", "5; 6", "2 point 5",
    "3 times 4", "5 or six", "4 score", "2 thousand", "1.000.000", "2024-05-01", "twenty-5",
    "1e999999", "9^999", "0^-1", "1e3 / 7 days", "nan", "inf",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), WHOLE)
def test_a_number_is_read_whole_whatever_its_form_and_what_follows(text, value):
    assert final_number(f"so it is\n#### {text}") == value


@pytest.mark.parametrize("text", PARTS)
def test_a_part_of_a_number_is_never_taken_for_the_number(text):
    assert final_number(f"#### {text}") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 boxes of 36 make 72 apples", 72),
        ("36 * 2 = 72", 72),
        ("36*2=72.", 72),
        ("so x=5", 5),
        ("it is 36, then 72", 72),
        ("Step 2: 72", 72),
        ("72\nas I said", 72),
        ("it is 7 - 6", None),
        ("it is 1 1/2", Fraction(3, 2)),
        ("it takes 5 million", None),
        ("f(2)", None),
        ("about 10^6.", 10**6),
    ],
)
def test_without_a_mark_the_last_number_is_read_whole_too(text, value):
    assert final_number(text, anywhere=True) == value


@given(st.integers(2, 10**9), st.sampled_from(" .,'/^½k:-\u00a0"), st.integers(1, 10**6))
def test_digits_after_a_number_belong_to_it_or_spoil_it(value, between, more):
    """Whatever stands between, the first digits alone are never the answer."""
    read = final_number(f"#### {value}{between}{more}")
    assert read is None or read != value or more == 1


def reader(kind, anywhere=False, choices="ABCD", ignore_case=False):
    return make_reader(kind, anywhere, choices, ignore_case)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", "B"), ("(B)", "B"), ("B) Paris", "B"), ("**B**", "B"), ("B. A city in France", "B"),
        ("b", "B"), ("A city", None), ("A or B", None), ("A, B", None), ("A/B", None),
        ("A) and B)", None), ("(B), not (A)", None), ("E", None), ("", None),
    ],
)  # fmt: skip
def test_a_choice_is_one_of_those_offered_and_only_one(text, choice):
    assert reader("choice")(f"#### {text}") == choice


def test_texts_are_the_same_whatever_their_spacing_emphasis_and_unicode_form():
    read = reader("text")
    assert (
        read("#### Caf\u00e9  noir.") == read("well\n#### **Cafe\u0301 noir**") == "Caf\u00e9 noir"
    )
    assert read("#### paris") != read("#### Paris")
    assert reader("text", ignore_case=True)("#### Paris") == "paris"
    assert read("Paris") is None
    assert reader("text", anywhere=True)("It is\nParis.\n") == "Paris"


def test_sets_are_the_same_whatever_their_order_repetition_and_way_of_writing_numbers():
    read = reader("set")
    assert read("#### 2, 3") == read("#### {3; 2.0; 3}") == read("#### [3, 20e-1]")
    assert read("#### 1,000; 2") == read("#### 2, 1000")
    assert read("#### red, blue") == read("#### blue , red.")
    assert read("#### {}") == "[]"
    assert read("####") is None
    assert read("#### 2,, 3") is None
    assert read("#### 2, 3") != read("#### 2, 3, 4")


def test_an_answer_longer_than_any_is_none():
    assert reader("text")("#### " + "x" * 5000) is None


KINDS = {
    "number": [f"{n} + {n} = {2 * n}\n#### {2 * n}" for n in range(60)],
    "text": [f"#### town {n}" for n in range(60)],
    "choice": [f"#### {'ABCD'[n % 4]}" for n in range(60)],
    "set": [f"#### {n}, {n + 1}" for n in range(60)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_of_a_file_is_right_for_its_own_question_and_wrong_for_others(tmp_path, kind):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"Q{n}", "answer": answer} for n, answer in enumerate(KINDS[kind])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = Jsonl({"path": str(path), "answer_kind": kind}, 0)
    for index in range(30):
        task = environment.task("train", index)
        prompt, answer = environment.supervised(index)
        assert prompt == task.prompt
        assert environment.grade(task, answer, True) == 1.0
        assert environment.grade(task, answer, False) == 0.0
        assert environment.grade(task, "#### 777 towns", True) == 0.0


def test_an_answer_that_is_not_of_the_kind_is_named_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "x", "answer": "#### E"}\n')
    with pytest.raises(BadProblemFile, match=r"rows\.jsonl:1: .*answer_kind"):
        Jsonl({"path": str(path), "answer_kind": "choice"}, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer_kind": "essay"}, "one of number, text, choice, set"),
        ({"answer_kind": "choice", "choices": "A"}, "two or more"),
        ({"answer_kind": "choice", "choices": "A,,B"}, "two or more"),
        ({"answer_kind": "choice", "choices": "A,A"}, "two or more"),
    ],
)
def test_settings_of_answers_that_make_no_sense_are_named(tmp_path, values, message):
    with pytest.raises(InvalidEnvironment, match=message):
        Jsonl({"path": "none.jsonl", **values}, 0)
