"""An environment's settings: every one is read with its type or refused by its own name."""

import re

import pytest

from archipel.training.environments.parameters import Parameters, nearest
from archipel.training.environments.task import InvalidEnvironment

PLACE = "environment.parameters."


@pytest.mark.parametrize(
    ("value", "read", "said"),
    [
        (7, lambda p: p.text("key"), "key: got 7, expected a string"),
        ("c", lambda p: p.text("key", choices=("b", "a")), "key: got 'c', expected one of b, a"),
        ("1", lambda p: p.integer("key", 1, 2, 5), "key: got '1', expected an integer from 2 to 5"),
        (1, lambda p: p.integer("key", 1, 2, 5), "key: got 1, expected an integer from 2 to 5"),
        (6, lambda p: p.integer("key", 1, 2, 5), "key: got 6, expected an integer from 2 to 5"),
        (2.0, lambda p: p.integer("key", 1, 2, 5), "key: got 2.0, expected an integer"),
        (True, lambda p: p.integer("key", 1, 0, 5), "key: got True, expected an integer"),
        (1, lambda p: p.flag("key", False), "key: got 1, expected true or false"),
    ],
)
def test_a_value_of_another_kind_is_told_with_its_key(value, read, said):
    with pytest.raises(InvalidEnvironment, match=re.escape(PLACE + said)):
        read(Parameters("e", {"key": value}))


def test_values_at_their_bounds_and_defaults_are_taken():
    given = Parameters("e", {"low": 2, "high": 5, "text": "b", "flag": True})
    assert [given.integer(key, None, 2, 5) for key in ("low", "high")] == [2, 5]
    assert given.text("text", choices=("a", "b")) == "b"
    assert given.flag("flag", False) is True
    assert (given.integer("absent", 4, 2, 5), given.text("none", "t")) == (4, "t")
    assert given.flag("off", False) is False
    given.finish()


def test_what_is_required_and_what_nobody_reads_is_named():
    with pytest.raises(InvalidEnvironment, match=r"path is missing; 'e' needs it"):
        Parameters("e", {}).text("path")
    left = Parameters("e", {"pat": "x"})
    left.text("path", "")
    with pytest.raises(InvalidEnvironment, match=r"pat: unknown for 'e'; did you mean 'path'\?"):
        left.finish()
    assert left.rest() == {"pat": "x"}
    assert left.rest() == {}
    left.finish()


def test_the_nearest_word_is_offered_else_all_there_are():
    assert nearest("lenght", ["width", "length"]) == "did you mean 'length'?"
    assert nearest("xyz", ["b", "a"]) == "choose from: a, b"
    assert nearest("xyz", []) == "choose from: none"
