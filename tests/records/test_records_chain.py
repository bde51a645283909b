"""The way to a version's weights is the shortest that the published files allow."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.records.chain import chain_to


@dataclass(frozen=True)
class Link:
    version: int
    anchor: object | None = None
    delta: object | None = None


def links(*kinds: str) -> list[Link]:
    """`a` has an anchor, `d` a delta, `b` both, `-` neither; from version 0 on."""
    return [
        Link(n, "anchor" if kind in "ab" else None, "delta" if kind in "db" else None)
        for n, kind in enumerate(kinds)
    ]


def known(versions: list[Link]) -> Callable[[int], Link | None]:
    return {link.version: link for link in versions}.get


def way(versions: list[Link], held: int, target: int) -> list[tuple[int, str]]:
    return [(link.version, step) for link, step in chain_to(known(versions), held, target)]


D, A = "delta", "anchor"


@pytest.mark.parametrize(
    ("kinds", "held", "target", "steps"),
    [
        ("addd", -1, 3, [(0, A), (1, D), (2, D), (3, D)]),
        ("addd", 1, 3, [(2, D), (3, D)]),
        ("addd", 3, 3, []),
        ("addd", 0, 1, [(1, D)]),
        ("addd", 9, 1, [(0, A), (1, D)]),
        ("adbd", -1, 3, [(2, A), (3, D)]),
        ("adbd", 0, 3, [(1, D), (2, D), (3, D)]),
        ("adad", 0, 3, [(2, A), (3, D)]),
        ("a", -1, 0, [(0, A)]),
        ("a", 0, 0, []),
        ("adb", -1, 2, [(2, A)]),
    ],
)
def test_from_what_is_held_by_deltas_or_else_from_the_newest_anchor(
    kinds: str, held: int, target: int, steps: list[tuple[int, str]]
) -> None:
    assert way(links(*kinds), held, target) == steps


@pytest.mark.parametrize(
    ("kinds", "held", "target"), [("ddd", -1, 2), ("a-d", -1, 2), ("add", -1, 3), ("a-", 0, 1)]
)
def test_a_list_that_does_not_lead_there_is_said_to_be_incomplete(
    kinds: str, held: int, target: int
) -> None:
    with pytest.raises(ValueError, match=f"from version {held} to {target}"):
        chain_to(known(links(*kinds)), held, target)


def test_a_list_that_begins_late_leads_from_its_first_anchor() -> None:
    late = links(*"xxadd")[2:]
    assert way(late, -1, 4) == [(2, A), (3, D), (4, D)]
    assert way(late, 1, 4) == [(2, A), (3, D), (4, D)]
    assert way(late, 3, 4) == [(4, D)]
    with pytest.raises(ValueError, match="no chain"):
        chain_to(known(late), -1, 1)


@pytest.mark.parametrize("held", [-1, 99_997, 200_000])
def test_a_way_is_found_without_looking_at_what_it_does_not_touch(held: int) -> None:
    asked: list[int] = []

    def find(number: int) -> Link:
        asked.append(number)
        return Link(number, "anchor" if number % 4 == 0 else None, "delta")

    steps = [step for _, step in chain_to(find, held, 99_999)]
    assert steps == ([D, D] if held == 99_997 else [A, D, D, D])
    assert len(asked) == len(steps)


@given(st.lists(st.sampled_from("adb"), max_size=12), st.integers(-1, 14), st.integers(0, 12))
def test_every_way_leads_from_what_is_at_hand_to_the_target_without_a_gap(
    kinds: list[str], held: int, target: int
) -> None:
    versions = links("a", *kinds)
    target = min(target, len(versions) - 1)
    steps = way(versions, held, target)
    at = held
    for number, step in steps:
        link = versions[number]
        assert (link.anchor if step == "anchor" else link.delta) is not None
        assert step == "anchor" or number == at + 1
        at = number
    assert at == target
