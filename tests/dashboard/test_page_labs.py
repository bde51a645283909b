"""`/pages/labs`: other labs as their cards tell, and what is wrong with one."""

from types import SimpleNamespace
from typing import cast

from archipel.dashboard.http.frame import html
from archipel.dashboard.http.site import page_at
from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.value import Page
from archipel.dashboard.series import NoSeries
from archipel.dashboard.source import Look, Source
from archipel.directory.known import Directory, took
from archipel.directory.known import Source as Hand
from archipel.directory.viewed import viewed
from archipel.records.page_documents import KnownLabView
from labcards import NOW_MS, card, head, lab_identity


def page(labs: list[KnownLabView], **query: str) -> Page:
    look = cast("Look", SimpleNamespace(size=3))
    sight = Sight(cast("Source", SimpleNamespace()), look, NoSeries(), (), query, labs)
    return page_at(sight, "labs")


def test_a_known_lab_is_a_row_with_what_its_card_says_and_when_it_answered() -> None:
    known = took(Directory(), [card("a", head=head("a"), purpose="<b>schools", licence="MIT")],
                 Hand("s"), NOW_MS)  # fmt: skip
    told = page([viewed(each) for each in known.labs.values()])
    (row,) = told.sections[0].tables[0].rows
    assert [cell.value for cell in row[:5]] == [
        lab_identity("a").did, "https://a.example", "<b>schools", "MIT", 3,
    ]  # fmt: skip
    assert (row[5].text, row[6].value, row[7].value) == ("none", None, NOW_MS)
    assert told.notices == ()
    drawn = html(told, lab_identity("own").did, NOW_MS, is_part=False, problem="")
    assert b"&lt;b&gt;schools" in drawn
    assert b"<b>schools" not in drawn


def test_a_contradiction_is_told_above_and_a_long_list_goes_on_by_pages() -> None:
    both = [card("a", 2), card("a", 2, purpose="another")]
    many = [card(f"lab-{each}") for each in range(55)]
    known = took(Directory(), [*both, *many], Hand("s"), NOW_MS)
    views = [viewed(each) for each in known.labs.values()]
    (notice,) = page(views).notices
    assert "two cards under number 2" in notice.text
    first, rest = (page(views, start=start).sections[0].tables[0] for start in ("0", "50"))
    assert (len(first.rows), len(rest.rows)) == (50, 6)
    assert not page([]).sections[0].tables[0].rows
