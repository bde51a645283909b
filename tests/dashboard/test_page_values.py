"""What pages are cut into, without a site: lists go on, charts keep their places, words are counted."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest

from archipel.dashboard.http.frame import as_json
from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.charts import Legend, over_time
from archipel.dashboard.pages.ledger import ledger
from archipel.dashboard.pages.models import model, models
from archipel.dashboard.pages.value import (
    Cell,
    Chart,
    Column,
    Figure,
    Line,
    Link,
    Notice,
    Page,
    Pager,
    Section,
    Table,
)  # fmt: skip
from archipel.dashboard.series import Moved, NoSeries
from archipel.dashboard.source import Source
from archipel.lab.look import Look
from archipel.lab.state import LabState
from archipel.records.page_documents import ReleaseView

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "pages.md"


class Headed:
    """A source of no entries under this head."""

    def __init__(self, head: str) -> None:
        self._head = head

    def head(self) -> str:
        return self._head


def sight(head: str = "", releases: tuple[ReleaseView, ...] = (), **query: str) -> Sight:
    look = Look(LabState(lab="did:key:z6Mk"), 0)
    return Sight(cast("Source", Headed(head)), look, NoSeries(), releases, query)


def release(name: str, **more: Any) -> ReleaseView:
    told = {"signed_by": "", "made_ms": 1, "openness": (), "holds": True, "size_bytes": 1, "files": 1}  # fmt: skip
    return ReleaseView(name=name, **(told | more))


def names(page: Page) -> list[str]:
    return [row[0].text for row in page.sections[0].tables[0].rows]


def test_a_chart_over_time_is_what_its_legend_says() -> None:
    legend = Legend("pay", "Pay", "credits", (("", "earned"),), "a note")
    rows = [Moved(1_000, 2_500_000, 3, 7), Moved(2_000, -1, 8, 9)]
    assert over_time(legend, []) is None
    chart = over_time(legend, rows, {"spent": (1.0, None)})
    assert chart is not None
    assert (chart.id, chart.title, chart.unit, chart.note) == ("pay", "Pay", "credits", "a note")
    assert (chart.x, chart.xs, chart.entries) == ("time", (1_000.0, 2_000.0), (7, 9))
    assert chart.lines == (Line("earned", (2.5, -1e-06)), Line("spent", (1.0, None)))
    assert (chart.kind, getattr(over_time(legend, rows, is_bars=True), "kind", "")) == (
        "steps",
        "bars",
    )


def test_the_reference_names_every_field_of_a_pages_json() -> None:
    rows = dict(
        line.strip("| ").split(" | ", 1)
        for line in REFERENCE.read_text("utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| part")
    )
    assert json.loads(as_json(models(sight()), "did:key:z6Mk", 5)).keys() == {"lab", "at_ms", *named(rows["page"])}  # fmt: skip
    for part in (Page, Section, Figure, Notice, Table, Column, Cell, Pager, Chart, Line, Link):
        assert named(rows[part.__name__.lower()]) == [each.name for each in fields(part)]


def named(row: str) -> list[str]:
    """Fields outside brackets."""
    return re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row))


def test_all_releases_are_reached_from_the_first_page() -> None:
    whole = tuple(release(f"r{number:03d}") for number in range(2 * paths.ROWS + 1))
    found, start = list[str](), 0
    for _ in range(3):
        page = models(sight(releases=whole, start=str(start)))
        found += names(page)
        pager = page.sections[0].tables[0].pager
        assert pager is not None
        start += paths.ROWS
        assert pager.on == (f"/pages/models?start={start}" if start < len(whole) else "")
    assert found == [each.name for each in whole]
    assert models(sight(releases=whole[: paths.ROWS])).sections[0].tables[0].pager is None


def test_a_release_made_elsewhere_leads_to_no_run_and_one_without_a_day_has_none() -> None:
    one = release("far", run="elsewhere", version=3, made_ms=0)
    cells = models(sight(releases=(one,))).sections[0].tables[0].rows[0]
    figures = {each.name: each for each in model(sight(releases=(one,)), "far").figures}
    assert (cells[1].text, cells[1].to) == ("elsewhere", "")
    assert (figures["run"].to, figures["run"].note) == ("", "version 3")
    assert cells[-1].text == figures["made_ms"].text == wording.UNKNOWN
    assert figures["made_ms"].value is None


@pytest.mark.parametrize(
    ("signers", "words"),
    [
        (1, "Signed by the lab; no witness has signed this head."),
        (2, "Signed by the lab and 1 witness: w1."),
        (3, "Signed by the lab and 2 witnesses: w1, w2."),
    ],
)
def test_a_head_names_who_signed_it(signers: int, words: str) -> None:
    head = "lab\n0\nroot\n\n" + "".join(f"— w{number} c2ln\n" for number in range(signers))
    (section,) = [each for each in ledger(sight(head)).sections if each.id == "head"]
    assert (section.title, section.words) == ("Signed tree head", (words,))
