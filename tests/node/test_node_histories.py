"""A run's measurements are those that a key which the run trusts has signed, and no others."""

import pytest

from archipel.node.exchange import LabRefused
from archipel.node.histories import points_of
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import RunOpened, WorkAnswered
from people import envelope, identity
from specimens import ANSWERS, SMALL


def _opened() -> RunOpened:
    opened = SMALL["run.opened"]
    assert isinstance(opened, RunOpened)
    return opened


def _sealed(author: str, kind: str, version: int = 4, run: str = "run") -> str:
    answer = ANSWERS[kind]
    if isinstance(answer, UpdateAnswer):
        answer = answer.model_copy(update={"version": version})
    who = identity(author)
    said = WorkAnswered(
        lab=_opened().lab, author=who.did, seq=7_000_000, work=f"{run}.1", answer=answer
    )
    return envelope(who, said).decode()


def test_measurements_of_publications_come_in_plain_units_by_version() -> None:
    points = points_of([_sealed("node", "update", 9), _sealed("node", "update", 4)], _opened())
    assert [point.version for point in points] == [4, 9]
    assert points[0].values == {"reward": -5e-6, "loss": 1.2e-5}
    assert points[0].at_s == 7.0


def test_what_another_programme_publishes_is_passed_over() -> None:
    assert (
        points_of([_sealed("node", "evaluate"), _sealed("node", "update")], _opened())[0].version
        == 4
    )


@pytest.mark.parametrize(
    "page",
    [
        [_sealed("stranger", "update")],
        [_sealed("node", "update", run="another")],
        ["{}"],
        ["\ud83d"],
        [7],
        {"not": "a page"},
        ["x"] * 1001,
    ],
    ids=["stranger", "another run", "empty", "half an emoji", "number", "object", "too many"],
)
def test_what_no_trusted_key_signed_for_this_run_is_refused(page: object) -> None:
    with pytest.raises(LabRefused):
        points_of(page, _opened())
