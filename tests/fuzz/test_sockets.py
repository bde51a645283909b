"""A slice of the campaign at a lab's socket, and that it would notice."""

from pathlib import Path

import pytest

from archipel.lab import blob_routes
from fuzz.sockets import failures


def test_odd_requests_and_racing_uploads_break_nothing(tmp_path: Path) -> None:
    assert failures(tmp_path, range(40)) == []


def test_an_internal_error_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(blob_routes, "part_of", broken)
    assert any("got 500" in each for each in failures(tmp_path, range(20)))
