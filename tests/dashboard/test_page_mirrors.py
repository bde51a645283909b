"""`/pages/mirrors`: how each mirrored lab stands, in the words that commands use, and what it did."""

from types import SimpleNamespace
from typing import Any, cast, get_args

from archipel.dashboard.http.frame import html
from archipel.dashboard.http.site import page_at
from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.value import Page
from archipel.dashboard.series import NoSeries
from archipel.dashboard.source import Look, Source
from archipel.records.mirror_documents import (
    STANDINGS,
    MirrorBlobs,
    MirrorFault,
    MirrorView,
    Standing,
)
from people import identity

NOW_MS = 1_800_000_000_000


def page(*views: MirrorView) -> Page:
    look = cast("Look", SimpleNamespace(size=3, now_ms=NOW_MS))
    sight = Sight(cast("Source", SimpleNamespace()), look, NoSeries(), mirrors=views)
    return page_at(sight, "mirrors")


def view(name: str, standing: Standing = "followed", **other: Any) -> MirrorView:
    return MirrorView(name=name, lab=other.pop("lab", ""), url=f"https://{name}.example",
                      standing=standing, **other)  # fmt: skip


def test_a_mirror_is_a_row_with_what_was_seen_of_its_lab() -> None:
    did = identity("mirrored").did
    blobs = MirrorBlobs(wanted=7, kept=5, kept_bytes=2048)
    told = page(view("<b>".strip("<>"), lab=did, entries=1200, head_ms=NOW_MS - 1000,
                     answered_ms=NOW_MS, blobs=blobs, reason="<i>", complete=900))  # fmt: skip
    (row,) = told.sections[0].tables[0].rows
    assert [cell.value for cell in row[1:8]] == [
        did,
        "followed",
        1200,
        NOW_MS - 1000,
        NOW_MS,
        5,
        900,
    ]
    assert (row[0].title, row[1].title, row[2].tone) == ("https://b.example", did, "good")
    assert row[6].text.startswith("5 of 7, 2")
    assert (told.figures[3].name, told.figures[3].value) == ("blob_bytes", 2048)
    drawn = html(told, identity("own").did, NOW_MS, is_part=False, problem="")
    assert b"&lt;i&gt;" in drawn
    assert b"<i>" not in drawn
    (new,) = page(view("x", "new")).sections[0].tables[0].rows
    assert [cell.value for cell in new[4:6]] == [None, None]
    (long,) = page(view("x", reason="r" * 1000)).sections[0].tables[0].rows
    assert len(long[8].text) <= 200


def test_each_standing_has_its_words_and_what_no_honest_lab_does_stands_above() -> None:
    every = get_args(Standing)
    told = page(*(view(each, each) for each in every))
    cells = {row[0].text: row[2] for row in told.sections[0].tables[0].rows}
    assert {name: cell.tone for name, cell in cells.items()} == {
        **dict.fromkeys(("forked", "broken", "gone-back"), "bad"),
        "silent": "warn",
        "followed": "good",
        "new": "quiet",
    }
    assert all(cells[each].text.startswith(STANDINGS[each]) for each in every)
    assert [each.text for each in told.notices] == [
        f"the lab of mirror {each} {STANDINGS[each]}" for each in ("forked", "broken", "gone-back")
    ]


def test_who_continues_a_mirrored_lab_stands_above() -> None:
    said = "did:key:zNew continues this ledger from 9 entries on at https://new.example"
    (notice,) = page(view("a", continued=said), view("b")).notices
    assert (notice.text, notice.tone) == (f"mirror a: {said}", "warn")


def test_silence_is_counted_from_when_it_began() -> None:
    told = page(view("a", "silent", since_ms=NOW_MS - 600_000), view("b", "silent", since_ms=NOW_MS + 5))  # fmt: skip
    first, second = (row[2].text for row in told.sections[0].tables[0].rows)
    assert first.startswith("is silent for 10")
    assert second.startswith("is silent for 0")
    assert [(each.name, each.value, each.tone) for each in told.figures[:3]] == [
        ("mirrors", 2, "plain"), ("followed", 0, "plain"), ("silent", 2, "warn"),
    ]  # fmt: skip
    assert page(view("a")).figures[2].tone == "plain"


def test_faults_are_told_the_newest_first_and_one_that_is_over_is_quiet() -> None:
    faults = (
        MirrorFault(kind="rollback", at_ms=1, words="3 after 5", over_ms=2, evidence="r.evidence"),
        MirrorFault(kind="fork", at_ms=9, words="two"),
    )
    told = page(view("a", "forked", faults=faults))
    fork, rollback = told.sections[1].tables[0].rows
    assert (fork[1].value, fork[2].value, fork[2].tone, fork[2].text) == (9, "fork", "bad", "fork: two")  # fmt: skip
    assert (rollback[2].tone, rollback[3].text) == ("quiet", "r.evidence")
    assert "it caught up at" in rollback[2].text
