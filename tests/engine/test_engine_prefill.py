"""Which prompts are read together: alike in length, short ones in company, as many as are allowed."""

from hypothesis import given
from hypothesis import strategies as st

from archipel.engine.attention import round_up
from archipel.engine.prefill import BLOCK, GRANULE, Prompt, prompt_batches


def batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    prompts = [Prompt((1,) * length, (slot,)) for slot, length in enumerate(lengths)]
    made = prompt_batches(prompts, max_tokens)
    slots = [prompt.slots for batch in made for prompt in batch]
    assert sorted(slots) == [(slot,) for slot in range(len(lengths))], "each of them once"
    return [[len(prompt.tokens) for prompt in batch] for batch in made]


def test_prompts_of_one_block_share_a_batch_and_longer_ones_are_read_alone() -> None:
    assert batches([BLOCK, BLOCK, BLOCK - 1], 10**6) == [[BLOCK, BLOCK, BLOCK - 1]]
    assert batches([BLOCK + 1] * 3, 10**6) == [[BLOCK + 1]] * 3


def test_a_batch_is_as_large_as_allowed_and_never_empty() -> None:
    assert batches([16] * 5, 48) == [[16] * 3, [16] * 2]
    assert batches([16] * 2, 1) == [[16], [16]]


@given(st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=30), st.integers(1, 4000))
def test_what_is_read_together_is_alike_and_within_bounds(lengths: list[int], limit: int) -> None:
    for batch in batches(lengths, limit):
        (padded,) = {round_up(length, GRANULE) for length in batch}
        assert len(batch) == 1 or (padded <= BLOCK and padded * len(batch) <= limit)
