"""One noun for one thing, and the plural for every other number."""

import pytest

from archipel.plurals import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (-1, "-1 entries")]
)
def test_only_one_is_one(number: int, said: str) -> None:
    assert counted(number, "entry", "entries") == said
    assert counted(number, "node") == f"{number} node{'' if number == 1 else 's'}"
