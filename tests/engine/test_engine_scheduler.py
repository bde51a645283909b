"""Slots are never shared, lost or idle without reason, whatever arrives and finishes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.scheduler import Scheduler


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    num_slots=st.integers(1, 16),
    data=st.data(),
)
def test_every_rollout_runs_exactly_once_in_a_slot_of_its_own(
    counts: list[int], num_slots: int, data: st.DataObject
) -> None:
    scheduler, running, ran = Scheduler(counts, num_slots), {}, []
    while scheduler.has_work:
        for admission in scheduler.admit():
            for offset, slot in enumerate(admission.slots):
                assert slot not in running
                running[slot] = (admission.request, admission.first_rollout + offset)
        for move in scheduler.compact():
            assert move.target not in running
            running[move.target] = running.pop(move.source)
        assert running, "work waits while nothing runs"
        assert max(running) < scheduler.num_rows <= num_slots
        done = data.draw(st.lists(st.sampled_from(sorted(running)), unique=True, min_size=1))
        scheduler.finish(done)
        ran += [running.pop(slot) for slot in done]
    expected = [(r, i) for r, count in enumerate(counts) for i in range(count)]
    assert sorted(ran) == expected


def test_after_compaction_at_most_a_quarter_of_the_rows_is_dead() -> None:
    scheduler = Scheduler([16], 16)
    scheduler.admit()
    scheduler.finish([0, 3, 5, 6, 9, 15])
    scheduler.compact()
    assert scheduler.num_rows == 10


def test_a_group_enters_whole_when_it_can() -> None:
    scheduler = Scheduler([3, 3], 4)
    assert [len(a.slots) for a in scheduler.admit()] == [3]
    scheduler.finish([0])
    assert scheduler.admit() == []
    scheduler.finish([1])
    assert [a.slots for a in scheduler.admit()] == [(0, 1, 3)]
