"""A slice of the campaign over a lab's own description, and that it would notice."""

from pathlib import Path

import pytest

from archipel.lab import views
from archipel.records.documents import Wait
from fuzz.openapi import BODIES, campaign


@pytest.mark.slow
def test_a_lab_answers_as_it_describes_itself(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, 1, 2, "--phases", "fuzzing")
    assert outcome.is_clean, outcome.told
    assert outcome.num_requests > 30


@pytest.mark.slow
def test_what_strangers_send_most_is_answered_as_described(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, 1, 1, *BODIES)
    assert outcome.is_clean, outcome.told
    assert outcome.num_requests >= 3


@pytest.mark.slow
def test_signed_statements_and_uploads_come_further_than_the_door(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, 2, 30, *BODIES)
    assert outcome.is_clean, outcome.told
    assert outcome.num_entries > 0
    assert outcome.num_blobs > 0


@pytest.mark.slow
def test_every_boundary_that_the_description_names_is_tried(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, 3, 1, "--phases", "coverage")
    assert outcome.is_clean, outcome.told
    assert outcome.num_requests > 200


@pytest.mark.slow
def test_an_internal_error_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Wait]:
        raise ZeroDivisionError

    monkeypatch.setattr(views, "waits", broken)
    outcome = campaign(tmp_path, 1, 1, "--phases", "fuzzing", "--include-path", "/waits")
    assert not outcome.is_clean
    assert "500" in outcome.told
