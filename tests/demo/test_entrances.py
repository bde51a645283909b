"""Nodes come on in their order, none sooner than its pause after the one before, and all in the end."""

from functools import partial
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from archipel.demo.entrances import PAUSE_S, Entrances


@given(st.lists(st.floats(0, 2 * PAUSE_S), max_size=12), st.integers(0, 5))
def test_one_comes_on_after_the_other_and_all_in_the_end(steps: list[float], many: int) -> None:
    came: list[tuple[int, float]] = []
    now = 0.0
    entrances = Entrances(
        [partial(lambda who: came.append((who, now)), who) for who in range(many)]
    )
    for step in [0.0, *steps]:
        now += step
        before = len(came)
        entrances.look(now)
        assert len(came) - before <= 1, "never two at once"
        if len(came) == before and before < many:
            assert now - came[-1][1] < PAUSE_S, "nobody waits for longer than the pause"
    seen = [when for _, when in came]
    assert all(later - sooner >= PAUSE_S for sooner, later in pairwise(seen))
    entrances.rest()
    assert [who for who, _ in came] == list(range(many))
