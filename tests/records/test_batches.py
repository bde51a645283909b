"""Which groups a batch has: every number belongs to one batch, at one place."""

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.batches import Batches
from archipel.records.fields import MAX_GROUPS_PER_UPDATE


@settings(max_examples=40, deadline=None)
@given(versions=st.integers(1, 9), size=st.integers(1, 7), refill=st.integers(0, 7))
def test_every_group_belongs_to_one_batch_at_one_place(
    versions: int, size: int, refill: int
) -> None:
    batches, seen = Batches(versions, size, refill), set[int]()
    for batch in range(versions):
        own = [*batches.first(batch), *batches.further(batch)]
        assert len(own) == size * (1 + refill)
        assert own == sorted(own)
        assert not seen.intersection(own)
        seen.update(own)
        assert [batches.origin(group) for group in own] == [batch] * len(own)
        assert [batches.place(group) for group in own] == list(range(len(own)))
        assert list(batches.groups(batch, refill)) == own[: size + min(refill, len(own) - size)]
        blocks = {group // size for group in batches.further(batch)}
        assert blocks == set(batches.blocks(batch)) == set(batches.blocks_of(batch, refill * size))
        further = list(batches.further(batch))
        for num in range(len(further) + 1):
            blocks = {group // size for group in further[:num]}
            assert set(batches.blocks_of(batch, num)) == blocks
    assert seen == set(range(versions * size * (1 + refill)))


def test_the_largest_run_has_numbers_that_fit_a_record() -> None:
    largest = Batches(1_000_000, MAX_GROUPS_PER_UPDATE // 8, 7)
    assert largest.further(999_999).stop <= 2**40
