"""The sentences that answer: each clause by its first that holds and can be told, numbers as sure as they are."""

import math

import pytest

from archipel.planning.formula import formula
from archipel.planning.quantity import Quantity, Source, Stated, stated
from archipel.planning.questions.deciding import worlds_like
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.questions.verdict import Teller, Untold, share_in_words
from archipel.planning.sampling import Draws
from archipel.planning.wording import range_text

KNOWN = {
    "a.cost": ("USD", 5.94e8, 4.96e8, 7.41e8),
    "a.price": ("USD/(accelerator*h)", 2.0, 1.0, 4.0),
    "a.ratio": ("1", 0.9, 0.5, 1.5),
    "a.time": ("h", 0.5, None, None),
    "a.never": ("year", math.inf, None, None),
}
WORDS = {"kind": "h100", "is_busy": "1", "is_split": "", "rent": "a.price"}


def _told(*clauses: list[list[str]]) -> str:
    def reckon(text: str) -> Quantity:
        return formula(text, look_up, "verdict", LAWS)

    def look_up(name: str, _: str) -> Quantity:
        if name not in KNOWN:
            raise Untold
        unit, value, low, high = KNOWN[name]
        return stated(name, unit, Stated(value, "assumed", Source("s", "t"), low, high))

    def fill(text: str) -> str:
        for word, said in WORDS.items():
            if f"{{{word}}}" in text and not said:
                raise Untold
            text = text.replace(f"{{{word}}}", said)
        return text

    return Teller(fill, reckon, worlds_like()).told(clauses)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("", True),
        ("a.ratio < 1", True),
        ("a.ratio > 1", False),
        ("a.time < 60 [min]", True),
        ("a.time < 20 [min]", False),
        ("a.ratio < 1 and a.time > 20 [min]", True),
        ("a.ratio < 1 and a.time < 20 [min]", False),
        ("likely a.ratio < 1", True),
        ("unlikely a.ratio < 1", False),
        ("unlikely a.ratio > 1.4", True),
        ("finite(a.never)", False),
        ("{is_busy}", True),
        ("{is_split}", False),
        ("{kind} is h100", True),
        ("{kind} is not h100", False),
        ("a.unknown < 1", False),
    ],
)
def test_the_first_sentence_whose_condition_holds_is_said(condition: str, holds: bool) -> None:
    assert _told([[condition, "yes"], ["", "no"]]) == ("yes" if holds else "no")


def test_a_sentence_about_what_does_not_exist_is_not_said() -> None:
    assert _told([["", "costs {=a.unknown}"], ["", "of unknown cost"]]) == "of unknown cost"
    assert _told([["", "costs {=a.unknown}"]], [["", "at all."]]) == "at all."


def test_a_clause_goes_on_with_the_sentence_before_it() -> None:
    assert _told([["", "It runs"]], [["", ", and ends."]], [["", "So"]]) == "It runs, and ends. So"


def test_amounts_are_as_sure_as_they_are_and_in_the_unit_wanted() -> None:
    assert _told([["", "{=a.cost * 1}"]]) == "$590 M [500 – 740]"
    assert _told([["", "{~a.cost * 1}"]]) == "$590 M"
    assert _told([["", "{=a.time in min}"]]) == "30 minutes"
    assert _told([["", "{={rent} * 1 in $} an hour"]]) == "$2.00 [1.00 – 4.00] an hour"
    assert _told([["", "{~a.ratio * 1 in percent}, {~a.never}"]]) == "90%, never"


def test_a_share_of_worlds_is_that_of_the_draws() -> None:
    ratio = stated("a.ratio", "1", Stated(0.9, "assumed", Source("s", "t"), 0.5, 1.5))
    share = float((Draws(0, 2000).samples(ratio) < 1).mean())
    assert _told([["", "cheaper in {?a.ratio < 1}"]]) == f"cheaper in {share:.0%} of sampled worlds"
    assert _told([["", "{?1 > a.ratio}"]]) == f"{share:.0%} of sampled worlds"
    ends = [share_in_words(each) for each in (1.0, 0.0, 0.99, 0.01)]
    assert ends == [
        "more than 99% of sampled worlds", "less than 1% of sampled worlds",
        "99% of sampled worlds", "1% of sampled worlds",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("half", "shown"),
    [(500.0, "1,200 h [730 – 1,700]"), (50.0, "1,230 h [1,180 – 1,280]"), (5.0, "1,234 h [1,229 – 1,239]")],
)  # fmt: skip
def test_digits_that_the_interval_covers_are_not_shown(half: float, shown: str) -> None:
    row = {"value": 1234.0, "low": 1234.0 - half, "high": 1234.0 + half, "unit": "h"}
    assert range_text(row) == shown
    assert (
        range_text(row | {"source": {}})
        == "1,234 h [" + " – ".join(f"{row[end]:,.0f}" for end in ("low", "high")) + "]"
    )
