"""A changed copy is what `dataclasses.replace` would give."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.records.changed import changed


@dataclass(frozen=True, slots=True)
class Sample:
    number: int
    text: str = ""
    more: tuple[int, ...] = ()


SAMPLES = st.builds(Sample, st.integers(), st.text(), st.lists(st.integers()).map(tuple))
CHANGES = st.fixed_dictionaries(
    {}, optional={"number": st.integers(), "text": st.text(), "more": st.just((1, 2))}
)


@given(SAMPLES, CHANGES)
def test_a_changed_copy_equals_a_replaced_one_and_leaves_the_value_alone(
    value: Sample, changes: dict
) -> None:
    before = replace(value)
    assert changed(value, **changes) == replace(value, **changes)
    assert value == before


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="other"):
        changed(Sample(1), other=2)
