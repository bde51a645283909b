"""Slots are never shared, lost or idle without reason, whatever arrives, finishes and is withdrawn."""

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.protocol import Ticket
from archipel.engine.scheduler import Scheduler


def scheduler_of(counts: list[int], num_slots: int) -> Scheduler:
    scheduler = Scheduler()
    for ticket, count in enumerate(counts):
        scheduler.add(Ticket(ticket), count, 16)
    scheduler.resize(num_slots)
    return scheduler


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    num_slots=st.integers(1, 16),
    late=st.integers(0, 12),
    data=st.data(),
)
def test_every_rollout_runs_exactly_once_in_a_slot_of_its_own(
    counts: list[int], num_slots: int, late: int, data: st.DataObject
) -> None:
    early = counts[: max(1, len(counts) - late)]
    scheduler = scheduler_of(early, num_slots)
    arriving, running, ran, cancelled = counts[len(early) :], {}, [], set()
    while scheduler.num_sequences or arriving:
        if arriving and (not scheduler.num_sequences or data.draw(st.booleans())):
            scheduler.add(Ticket(len(counts) - len(arriving)), arriving.pop(0), 16)
        if scheduler.num_rows < num_slots and data.draw(st.booleans()):
            num_slots = data.draw(st.integers(max(1, scheduler.num_rows), 20))
            scheduler.resize(num_slots)
        for admission in scheduler.admit(16):
            for offset, slot in enumerate(admission.slots):
                assert slot not in running
                running[slot] = (admission.ticket, admission.first_rollout + offset)
        for move in scheduler.compact():
            assert move.target not in running
            running[move.target] = running.pop(move.source)
        assert running, "work waits while nothing runs"
        assert max(running) + 1 == scheduler.num_rows <= num_slots
        done = data.draw(st.lists(st.sampled_from(sorted(running)), unique=True, min_size=1))
        scheduler.finish(done)
        ran += [running.pop(slot) for slot in done]
        if data.draw(st.booleans()):
            ticket = data.draw(st.integers(0, len(counts) - len(arriving) - 1))
            cancelled.add(ticket)
            scheduler.withdraw(Ticket(ticket))
            slots = [slot for slot, (owner, _) in running.items() if owner == ticket]
            scheduler.finish(slots)
            for slot in slots:
                del running[slot]
    expected = [(r, i) for r, count in enumerate(counts) for i in range(count)]
    assert len(set(ran)) == len(ran)
    assert sorted(set(ran)) == [pair for pair in expected if pair in ran]
    assert {pair for pair in expected if pair[0] not in cancelled} <= set(ran)


def test_after_compaction_at_most_a_quarter_of_the_rows_is_dead() -> None:
    scheduler = scheduler_of([16], 16)
    scheduler.admit(16)
    scheduler.finish([0, 3, 5, 6, 9, 15])
    scheduler.compact()
    assert scheduler.num_rows == 10


def test_a_group_enters_whole_when_it_can() -> None:
    scheduler = scheduler_of([3, 3], 4)
    assert [len(a.slots) for a in scheduler.admit(16)] == [3]
    scheduler.finish([0])
    assert scheduler.admit(16) == []
    scheduler.finish([1])
    assert [a.slots for a in scheduler.admit(16)] == [(0, 1, 3)]


def test_nothing_overtakes_a_group_that_waits_for_a_longer_cache() -> None:
    scheduler = scheduler_of([1], 4)
    scheduler.add(Ticket(1), 1, 32)
    scheduler.add(Ticket(2), 1, 16)
    assert [a.ticket for a in scheduler.admit(16)] == [0]
    assert scheduler.admit(16) == []
    assert [a.ticket for a in scheduler.admit(32)] == [1, 2]
