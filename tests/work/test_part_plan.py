"""A plan of parts at its edges: sizes, bounds, rows, shares, and where bytes lie. No tensor is made."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from archipel.model.weight_files import Stored
from archipel.records.weight_parts import MAX_PARTS, WEIGHT_BYTES, PartIndex
from archipel.work import part_plan
from archipel.work.part_plan import (
    CannotPart,
    Planned,
    goal_of,
    parts_folder,
    planned,
    ranges_of,
    rows_wanted,
    share,
    wanted,
)


def index(*parts: tuple[str, str, tuple[int, int, int] | None]) -> PartIndex:
    """first, last and rows (start, stop, of how many) of each part."""
    made = [
        SimpleNamespace(
            first=first,
            last=last,
            rows=rows and SimpleNamespace(start=rows[0], stop=rows[1], shape=(rows[2], 4)),
        )
        for first, last, rows in parts
    ]
    return cast("PartIndex", SimpleNamespace(parts=made))


def test_a_part_is_as_large_as_what_it_holds_of_its_tensors() -> None:
    assert Planned((("a", (3,)), ("b", (2, 2)))).num_bytes == 7 * WEIGHT_BYTES
    assert Planned((("w", (10, 4)),), (2, 5)).num_bytes == 12 * WEIGHT_BYTES
    assert parts_folder(Path("v/files")) == Path("v/parts")


def test_as_many_parts_as_a_version_may_have_and_no_more() -> None:
    assert (goal_of(10, 3), goal_of(0, 1), goal_of(10, MAX_PARTS)) == (4, 1, 1)
    for parts in (0, MAX_PARTS + 1):
        with pytest.raises(CannotPart, match=f"{parts} parts; expected 1 to {MAX_PARTS}"):
            goal_of(10, parts)
    forms = [(f"t{n:05}", (1,)) for n in range(MAX_PARTS + 1)]
    assert len(list(planned(forms[1:], 1))) == MAX_PARTS
    with pytest.raises(CannotPart, match=f"more than {MAX_PARTS} parts"):
        list(planned(forms, 1))
    with pytest.raises(CannotPart, match="no tensors"):
        list(planned([], 10))
    with pytest.raises(CannotPart, match="w comes after w"):
        list(planned([("w", (1,)), ("w", (1,))], 10))


@pytest.mark.parametrize(
    ("shape", "most", "rows"),
    [
        ((5, 4), 16, [(0, 2), (2, 4), (4, 5)]),
        ((5, 4), 40, [None]),
        ((5, 4), 39, [(0, 4), (4, 5)]),
        ((3, 4), 1, [(0, 1), (1, 2), (2, 3)]),
        ((1, 4), 1, [None]),
        ((), 1, [None]),
    ],
)
def test_a_tensor_that_is_larger_than_a_part_may_be_is_cut_by_its_rows(
    shape: tuple[int, ...], most: int, rows: list[Any]
) -> None:
    assert [part.rows for part in planned([("w", shape)], 10**6, most)] == rows


def test_what_stands_beside_a_cut_tensor_is_in_parts_of_its_own() -> None:
    made = list(planned([("a", (1,)), ("b", (4, 4)), ("c", (1,))], 10**6, 16))
    assert [(part.forms[0][0], part.rows) for part in made] == [
        ("a", None), ("b", (0, 2)), ("b", (2, 4)), ("c", None),
    ]  # fmt: skip


def test_a_layer_stays_with_little_before_it_and_no_part_has_too_many_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def firsts(goal: int, *forms: tuple[str, int], most: int | None = None) -> list[str]:
        made = planned([(name, (size, 1)) for name, size in forms], goal, most)
        return [part.forms[0][0] for part in made]

    assert firsts(10, ("m.0.a", 1), ("m.1.a", 50)) == ["m.0.a"]
    assert firsts(10, ("m.0.a", 3), ("m.1.a", 50)) == ["m.0.a", "m.1.a"]
    assert firsts(99, ("a", 1), ("b", 16), most=32) == ["a"]
    monkeypatch.setattr(part_plan, "MAX_PART_TENSORS", 2)
    assert firsts(99, *((name, 1) for name in "abcde")) == ["a", "c", "e"]


def test_the_largest_part_goes_to_whoever_has_least() -> None:
    sizes = [1, 9, 2, 2, 4]
    assert [share(sizes, rank, 2) for rank in range(2)] == [(1,), (0, 2, 3, 4)]
    assert [share([1, 1, 1], rank, 4) for rank in range(4)] == [(0,), (1,), (2,), ()]


def test_a_part_is_wanted_where_a_name_may_begin_so_and_its_rows_where_they_meet() -> None:
    parts = index(("a", "b", None), ("b", "d", None), ("w", "w", (0, 2, 4)), ("w", "w", (2, 4, 4)))
    assert wanted(parts, ["b"]) == (0, 1)
    assert wanted(parts, ["c"]) == (1,)
    assert wanted(index(("b.x", "c", None)), ["b."]) == (0,)
    assert wanted(parts, ["w", "a"]) == (0, 2, 3)
    assert [rows_wanted(parts, (0, 2, 3), rank, 2) for rank in range(2)] == [(0, 2), (0, 3)]
    assert rows_wanted(parts, (2, 3), 1, 3) == (2,)


def test_neighbours_in_a_file_are_read_as_one_and_rows_where_they_lie() -> None:
    one, two = Path("one"), Path("two")
    stored = {
        "a": Stored(one, (4,), 0, 8),
        "b": Stored(one, (4, 2), 8, 24),
        "c": Stored(one, (1,), 26, 28),
        "d": Stored(two, (1,), 28, 30),
    }
    whole = Planned(tuple((name, each.shape) for name, each in stored.items()))
    assert ranges_of(whole, stored) == ((one, 0, 24), (one, 26, 28), (two, 28, 30))
    assert ranges_of(Planned((("b", (4, 2)),), (1, 3)), stored) == ((one, 12, 20),)
    for name, shape in (("e", (1,)), ("a", (5,))):
        with pytest.raises(CannotPart, match=f"{name} of shape"):
            ranges_of(Planned(((name, shape),)), stored)
