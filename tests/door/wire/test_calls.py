"""The table of calls: whole, unambiguous, and printed as it is."""

from collections import Counter
from pathlib import Path

import pytest

from archipel.door.wire import calls
from archipel.door.wire.errors import Refused
from training_api_tables import current

PAGE = (Path(__file__).parents[3] / "docs/reference/training-api.md").read_text("utf-8")


def test_the_page_says_what_the_table_says() -> None:
    command = "python tests/training_api_tables.py docs/reference/training-api.md"
    assert current(PAGE) == PAGE, f"run: {command}"


def test_every_call_is_found_by_its_own_address_alone() -> None:
    parts = {"checkpoint": "weights/a"}
    for call in calls.CALLS:
        rest = call.path.replace("*}", "}").format_map(
            parts | dict.fromkeys(("session", "model", "sampler"), "x:1")
        )
        if call.standing == "refused":
            with pytest.raises(Refused, match="is not done here: ") as refused:
                calls.find(call.method, calls.BASE + rest)
            assert refused.value.kind == "not_offered"
        else:
            found, named = calls.find(call.method, calls.BASE + rest)
            assert found is call
            assert set(named.values()) <= {"x:1", "weights/a"}
    assert max(Counter(call.name for call in calls.CALLS).values()) == 1
    assert max(Counter((call.method, call.path) for call in calls.CALLS).values()) == 1


def test_what_is_done_otherwise_or_not_at_all_says_why() -> None:
    assert all(call.note for call in calls.CALLS if call.standing != "supported")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/create_session"),
        ("POST", "/api/v1/"),
        ("POST", "create_session"),
        ("POST", "/api/v2/create_session"),
        ("GET", "/api/v1/samplers/a/b"),
        ("GET", "/api/v1/training_runs/m/checkpoints/"),
    ],
)
def test_what_is_in_no_row_is_not_there(method: str, path: str) -> None:
    with pytest.raises(Refused, match="no call of this door") as refused:
        calls.find(method, path)
    assert refused.value.kind == "not_found"
