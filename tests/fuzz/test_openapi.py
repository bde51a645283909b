"""A slice of the campaign over a lab's own description, and that it would notice."""

from pathlib import Path

import pytest

from archipel.lab import views
from archipel.ledger.witness import Witness
from archipel.records.documents import Wait
from fuzz.doors import DOORS
from fuzz.openapi import BODIES, campaign, door_campaign


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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DOORS)
def test_every_other_door_answers_whatever_is_drawn_without_a_defect(
    tmp_path: Path, name: str
) -> None:
    per_operation = 20 if name in ("witness", "node") else 3
    outcome = door_campaign(name, tmp_path, 1, per_operation, "--phases", "fuzzing")
    assert outcome.is_clean, outcome.told
    assert outcome.num_requests >= 9


@pytest.mark.slow
def test_a_defect_of_a_door_is_noticed_by_its_answer_and_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Witness, "add", broken)
    outcome = door_campaign("witness", tmp_path, 1, 1, "--phases", "fuzzing")
    assert not outcome.is_clean
    assert "Server error" in outcome.told
    assert "in the door's log: " in outcome.told
    assert "ZeroDivisionError" in outcome.told
