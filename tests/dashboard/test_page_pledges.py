"""`/pages/pledges`: what providers pledged of their machines' time, and what of it was kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight
from archipel.dashboard.pages.overview import overview
from archipel.dashboard.pages.pledges import HOUR_MS, pledges, pledges_section
from archipel.dashboard.pages.value import Cell, Page
from archipel.dashboard.series import NoSeries
from archipel.dashboard.source import Source
from archipel.lab.given import Given
from archipel.lab.look import Look
from archipel.lab.state import LabState
from archipel.records.changed import changed
from archipel.records.table import Table
from people import identity
from world import World

ONE, OTHER = identity("one").did, identity("other").did
WEEK_MS = 168 * HOUR_MS
NOW_MS = 10 * WEEK_MS


def given(name: str, entry: int, **more: object) -> Given:
    """Made a week ago."""
    fields = {"at_ms": NOW_MS - WEEK_MS, "until_ms": NOW_MS + 1, "hours": 20} | more
    return Given(name, entry, **fields)  # type: ignore[arg-type]  # fields by name


def sight(state: LabState, **query: str) -> Sight:
    return Sight(
        cast("Source", SimpleNamespace(is_lab=True)), Look(state, NOW_MS), NoSeries(), (), query
    )


def state(known: dict[str, tuple[Given, ...]]) -> LabState:
    return LabState(lab="did:key:z6Mk", compute=Table(known))


def rows(page: Page) -> tuple[tuple[Cell, ...], ...]:
    return page.sections[0].tables[0].rows


def test_a_pledge_stands_beside_what_was_given_of_it() -> None:
    half = given("1", 7, given_ms=10 * HOUR_MS, works=1200, tokens=1_230_000)
    (row,) = rows(pledges(sight(state({ONE: (half,)}))))
    assert [cell.value for cell in row] == [
        ONE, None, 20, 10.0, 10 * HOUR_MS, 1200, 1_230_000, NOW_MS - WEEK_MS, "holds", 7,
    ]  # fmt: skip
    texts = [cell.text for cell in row]
    assert texts[1:7] == ["this lab", "20 h a week", "10.0 h", "10.0 h", "1,200", "1.23 M"]
    assert texts[8] == f"holds until {wording.moment(NOW_MS + 1)}"
    assert [row[number].to for number in (0, 9)] == [paths.operator(ONE), paths.entry(7)]
    assert [row[number].share for number in (3, 4)] == [0.5, None]


@pytest.mark.parametrize(
    ("more", "pledged", "share"),
    [
        ({"given_ms": 60 * HOUR_MS}, "20 h a week", 1.0),
        ({}, "20 h a week", 0.0),
        ({"hours": None, "share": 250_000}, "25% of its time", None),
        ({"hours": None, "share": 10_000}, "1% of its time", None),
        ({"hours": None, "share": 500}, "0.0005 of its time", None),
        ({"hours": 1_234_567}, "1,234,567 h a week", 0.0),
    ],
)
def test_how_much_is_said_as_it_was_pledged_and_only_hours_can_be_compared(
    more: dict[str, object], pledged: str, share: float | None
) -> None:
    (row,) = rows(pledges(sight(state({ONE: (given("1", 7, **more),)}))))
    assert (row[2].text, row[3].share) == (pledged, share)


def test_those_that_hold_come_first_then_the_newest_and_a_long_list_goes_on() -> None:
    known = {
        ONE: (
            given("over", 9, until_ms=NOW_MS),
            given("old", 1, given_ms=HOUR_MS),
            given("back", 8, withdrawn_ms=NOW_MS - HOUR_MS, given_ms=HOUR_MS),
        ),
        OTHER: (given("new", 5, hours=None, share=1, given_ms=HOUR_MS // 2),),
    }
    page = pledges(sight(state(known)))
    assert [row[-1].value for row in rows(page)] == [5, 1, 9, 8]
    assert [(row[-2].value, row[-2].tone) for row in rows(page)] == [
        ("holds", "good"), ("holds", "good"), ("over", "quiet"), ("withdrawn", "quiet"),
    ]  # fmt: skip
    assert {each.name: each.value for each in page.figures} == {
        "holding": 2, "hours_a_week": 20, "given_ms": HOUR_MS * 3 // 2,
    }  # fmt: skip
    assert page.figures[0].note == "of 4 known"
    many = {ONE: tuple(given(f"{number}", number) for number in range(60))}
    first, rest = (pledges(sight(state(many), start=start)) for start in ("0", "50"))
    assert [len(rows(each)) for each in (first, rest)] == [50, 10]
    assert [rows(each)[0][-1].value for each in (first, rest)] == [59, 9]
    pager = first.sections[0].tables[0].pager
    assert pager is not None
    assert pager.on == "/pages/pledges?start=50"


def test_where_nobody_pledged_pages_say_nothing_of_it_but_how() -> None:
    page = pledges(sight(state({})))
    assert not rows(page)
    assert "archipel node pledge" in page.sections[0].tables[0].empty
    assert pledges_section(sight(state({})), "run") is None
    assert "pledges" not in [each.name for each in overview(sight(state({}))).figures]
    (figure,) = [each for each in overview(sight(state({ONE: (given("1", 7, given_ms=HOUR_MS),)}))).figures if each.name == "pledges"]  # fmt: skip
    assert (figure.value, figure.note, figure.to) == (1, "1.0 h given", "/pages/pledges")


def test_a_run_shows_those_that_its_work_counts_for(tmp_path: Path) -> None:
    world = World(tmp_path, ledger_on_disk=False)
    world.started(purposes=("medicine", "weather"))
    known = {
        ONE: (given("1", 1), given("2", 2, purpose="medicine"), given("3", 3, purpose="chess")),
        OTHER: (given("4", 4, purpose="weather", until_ms=NOW_MS),),
    }
    seen = sight(changed(world.state, compute=Table(known)), run="run")
    assert [row[-1].value for row in rows(pledges(seen))] == [2, 1, 4]
    assert pledges(seen).path == "/pages/pledges?run=run"
    section = pledges_section(seen, "run")
    assert section is not None
    assert section.words == ("Work of this run counts for 2 pledges that hold.",)
    assert [(each.text, each.to) for each in section.links] == [
        ("All of them (3)", "/pages/pledges?run=run")
    ]
    assert [row[-1].value for row in section.tables[0].rows] == [2, 1, 4]
    with pytest.raises(NotThere, match="nobody"):
        pledges(sight(world.state, run="nobody"))
    world.close()
