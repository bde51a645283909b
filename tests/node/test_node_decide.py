"""What an agent does next: the table, the waits, and the way to the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.node.decide import MAX_BACKOFF_S, Act, View, backoff_s, next_act
from archipel.records.chain import chain_to

READY = {"child_ready": True, "joined": True}

TABLE = [
    ({}, Act.START_CHILD),
    ({"child_ready": True}, Act.JOIN),
    (READY, Act.ASK),
    (READY | {"leased": True}, Act.WORK),
    (READY | {"sending": 1}, Act.ASK),
    (READY | {"sending": 2}, Act.DRAIN),
    (READY | {"sending": 2, "leased": True}, Act.WORK),
    # A small answer is on its way: its receipt may bring the next lease.
    (READY | {"sending": 1, "asking": True}, Act.DRAIN),
    (READY | {"sending": 1, "asking": True, "leased": True}, Act.WORK),
    ({"joined": True, "leased": True}, Act.START_CHILD),
    # Ctrl-C once: finish what is leased, wait for what is on its way, take nothing new.
    ({"stopping": True}, Act.LEAVE),
    (READY | {"stopping": True}, Act.LEAVE),
    (READY | {"stopping": True, "leased": True}, Act.WORK),
    (READY | {"stopping": True, "sending": 1}, Act.DRAIN),
    ({"joined": True, "stopping": True, "leased": True}, Act.WORK),
    # Ctrl-C twice: give it back now.
    (READY | {"stopping": True, "hurrying": True, "leased": True}, Act.GIVE_BACK),
    (READY | {"stopping": True, "hurrying": True, "sending": 2}, Act.LEAVE),
    (READY | {"stopping": True, "hurrying": True}, Act.LEAVE),
]


@pytest.mark.parametrize(("known", "act"), TABLE)
def test_the_next_act_follows_the_table(known: dict, act: Act) -> None:
    assert next_act(View(**known)) is act


VIEWS = [
    View(
        stopping=a,
        hurrying=a and b,
        child_ready=c,
        joined=d,
        leased=e,
        sending=f,
        asking=g and f > 0,
    )
    for a, b, c, d, e, g, f in product(*[[False, True]] * 6, range(3))
]


def test_a_stopping_agent_takes_nothing_new_and_never_leaves_with_a_lease() -> None:
    for view in VIEWS:
        act = next_act(view)
        if view.stopping:
            assert act not in (Act.ASK, Act.JOIN, Act.START_CHILD)
        if act is Act.LEAVE:
            assert view.stopping
            assert not view.leased
            assert view.hurrying or view.sending == 0
        if act in (Act.ASK, Act.WORK) and not view.stopping:
            assert view.child_ready
            assert view.joined
        if act is Act.DRAIN:
            assert view.sending > 0
        if act is Act.ASK:
            assert not view.asking, "the same would be asked for twice"


@given(st.integers(0, 10_000), st.floats(0.0, 1.0, exclude_max=True))
def test_waits_grow_stay_bounded_and_are_spread(attempt: int, draw: float) -> None:
    wait = backoff_s(attempt, draw)
    assert 0.1 < wait <= MAX_BACKOFF_S
    assert backoff_s(attempt, 0.0) <= wait <= 2 * backoff_s(attempt, 0.0)
    assert backoff_s(attempt, draw) <= backoff_s(attempt + 1, draw)


@dataclass(frozen=True)
class Published:
    version: int
    anchor: str | None
    delta: str | None


@st.composite
def histories(draw: st.DrawFn) -> list[Published]:
    """A run's versions as a learner publishes them, and, sometimes, holes."""
    every = draw(st.integers(1, 5))
    last = draw(st.integers(0, 14))
    holes = draw(st.sets(st.integers(0, 14), max_size=2))
    return [
        Published(n, "anchor" if n % every == 0 else None, "delta" if n else None)
        for n in range(last + 1)
        if n not in holes
    ]


@given(histories(), st.integers(-1, 16), st.integers(0, 16))
def test_a_chain_starts_at_what_is_held_or_at_an_anchor_and_ends_at_the_target(
    history: list[Published], held: int, target: int
) -> None:
    try:
        steps = chain_to(known(history), held, target)
    except ValueError:
        assert not _reachable(history, held, target)
        return
    numbers = [entry.version for entry, _ in steps]
    if not steps:
        assert held == target
        return
    assert numbers == list(range(numbers[0], target + 1))
    first, kind = steps[0]
    assert (kind == "anchor" and first.anchor) or first.version == held + 1
    assert all(step == "delta" and entry.delta for entry, step in steps[1:])


def known(history: list[Published]) -> Callable[[int], Published | None]:
    return {each.version: each for each in history}.get


def _reachable(history: list[Published], held: int, target: int) -> bool:
    """By brute force: every set of weights one can come to."""
    by_number = {entry.version: entry for entry in history}
    reached = {held} if held >= 0 else set()
    for number in range(target + 1):
        entry = by_number.get(number)
        is_next = entry is not None and entry.delta and number - 1 in reached
        if entry is not None and (entry.anchor or is_next):
            reached.add(number)
    return target in reached


def test_a_late_joiner_starts_at_the_newest_anchor() -> None:
    history = [Published(n, "a" if n % 4 == 0 else None, "d" if n else None) for n in range(12)]
    assert [(e.version, s) for e, s in chain_to(known(history), -1, 10)] == [
        (8, "anchor"),
        (9, "delta"),
        (10, "delta"),
    ]
    assert [(e.version, s) for e, s in chain_to(known(history), 9, 5)] == [
        (4, "anchor"),
        (5, "delta"),
    ]
