"""Pledges of compute: how much one may say, and that it says it in one way."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from archipel.records.compute import MAX_PLEDGED_MS, ComputePledged, ComputeWithdrawn, Purposes
from specimens import SMALL

PLEDGED = SMALL["compute.pledged"]
assert isinstance(PLEDGED, ComputePledged)
PLAIN = {"share": None, "hours": None, "purpose": None}


def said(**changed: Any) -> ComputePledged:
    return ComputePledged.model_validate(PLEDGED.model_dump() | PLAIN | changed)


@pytest.mark.parametrize(
    "words",
    [
        {"share": 1},
        {"share": 1_000_000},
        {"hours": 1},
        {"hours": 16_800_000},
        {"share": 1, "purpose": "a"},
        {"share": 1, "purpose": "0-" + "z" * 30},
        {"share": 1, "name": 16 * "f"},
    ],
)
def test_what_a_pledge_may_say(words: dict[str, Any]) -> None:
    told = said(**words)
    assert {name: getattr(told, name) for name in words} == words


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"share": 1, "hours": 1},
        {"share": 0},
        {"share": 1_000_001},
        {"hours": 0},
        {"hours": 16_800_001},
        {"share": 1, "purpose": ""},
        {"share": 1, "purpose": "-a"},
        {"share": 1, "purpose": "A"},
        {"share": 1, "purpose": "a" * 33},
        {"share": 1, "name": 15 * "f"},
        {"share": 1, "name": 16 * "F"},
        {"share": 1, "unknown": 1},
    ],
)
def test_what_a_pledge_may_not_say(words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        said(**words)


def test_a_run_declares_eight_purposes_at_most() -> None:
    purposes = TypeAdapter(Purposes)
    eight = tuple(f"p{number}" for number in range(8))
    assert purposes.validate_python(eight) == eight
    for wrong in ((), (*eight, "p9")):
        with pytest.raises(ValidationError):
            purposes.validate_python(wrong)


def test_a_pledge_lasts_three_years_at_most_and_is_taken_back_by_its_name() -> None:
    assert MAX_PLEDGED_MS == 95_040_000_000
    told = SMALL["compute.withdrawn"]
    assert isinstance(told, ComputeWithdrawn)
    with pytest.raises(ValidationError):
        ComputeWithdrawn.model_validate(told.model_dump() | {"name": "all"})
