"""`plan report`: one page, well formed, nothing fetched, no script, every number and source of its plans in it."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.cli.doors import Mendable
from archipel.cli.plan_report import command
from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.page import inline, page
from archipel.planning.requests import REQUESTS
from archipel.planning.wording import answer_rows

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Open tags, names, links within the page, whatever a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.inner: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note what the tag names, links to, fetches."""
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """A tag that closes itself."""
        self._note(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        """Tags close in the order in which they opened."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def _note(self, tag: str, attrs: dict[str, str]) -> None:
        self.names += [attrs["id"]] if "id" in attrs else []
        for key in ("src", "href", "xlink:href", "srcset", "data", "action"):
            target = attrs.get(key, "")
            if target.startswith("#"):
                self.inner.append(target[1:])
            elif target and tag != "a":
                self.fetched.append(target)
        self.fetched += [tag] if tag in ("script", "iframe", "object", "embed", "link") else []
        self.fetched += [key for key in attrs if key.startswith("on")]


@pytest.fixture(scope="module")
def plans() -> list[dict[str, Any]]:
    return [
        Ask(question, REQUESTS[question](), Setting(samples=50)).data()
        for question in ("lab", "claims")
    ]


@pytest.fixture(scope="module")
def text(plans: list[dict[str, Any]]) -> str:
    return page(plans, "For a <sponsor> & friends")


def test_the_page_is_well_formed_and_every_inner_link_arrives(text: str) -> None:
    found = Reader(text)
    assert found.open == []
    assert len(found.names) == len(set(found.names))
    assert set(found.inner) <= set(found.names)


def test_nothing_is_fetched_and_nothing_runs(text: str) -> None:
    assert Reader(text).fetched == []
    beside_links = re.sub(r'<a href="[^"]*"', "", text)
    assert "http:" not in beside_links
    assert "https:" not in beside_links
    assert "url(#" in text
    assert not re.search(r"url\((?!#)|@import", text)


def test_every_answer_verdict_remark_and_source_is_on_it(
    text: str, plans: list[dict[str, Any]]
) -> None:
    shown = html.unescape(text)
    for data in plans:
        for about, value, band, _ in answer_rows(data):
            assert about in shown
            assert value in shown
            assert band in shown
        assert data["verdict"] in shown
        assert all(remark in shown for remark in data["remarks"])
        for row in data["quantities"].values():
            if row.get("source", {}).get("url"):
                assert row["source"]["url"] in shown
    assert "archipel plan claims" in shown


def test_a_first_page_says_what_every_plan_found(text: str, plans: list[dict[str, Any]]) -> None:
    summary = html.unescape(text[: text.index("<main>")])
    for data in plans:
        assert data["verdict"] in summary
        for about, value, band, _ in answer_rows(data)[:3]:
            assert f"{about} <strong>{value}</strong>" in summary
            assert band in summary
        moves = data["quantities"][data["matters"][data["answers"][0]][0]["input"]]["about"]
        assert f"Moves the first most: {moves}" in summary
    assert len(summary[summary.index("<header>") :]) < 6000, "more than a page"


def test_text_from_outside_stays_text(text: str) -> None:
    assert "<sponsor>" not in text
    assert "For a &lt;sponsor&gt; &amp; friends" in text


def test_each_chart_and_the_tornado_are_drawn_in_the_page(
    text: str, plans: list[dict[str, Any]]
) -> None:
    assert text.count("<svg") == sum(len(data["charts"]) + 1 for data in plans)


def test_a_second_drawing_keeps_its_own_names() -> None:
    drawn = '<?xml version="1.0"?><svg xmlns="x"><g id="a" clip-path="url(#b)"><use xlink:href="#a"/></g></svg>'
    assert inline(drawn, "p1") == (
        '<svg><g id="p1-a" clip-path="url(#p1-b)"><use href="#p1-a"/></g></svg>'
    )


@pytest.mark.slow
def test_the_same_plans_give_the_same_bytes(plans: list[dict[str, Any]]) -> None:
    assert page(plans[1:], "again") == page(plans[1:], "again")


@pytest.mark.slow
def test_the_command_writes_the_plans_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    asked = ("meek --samples 50 --budget '2000 USD'", "--out", str(out), "--title", "Two thousand")
    CliRunner().invoke(command, asked, standalone_mode=False, catch_exceptions=False)
    text = html.unescape(out.read_text("utf-8"))
    assert "<h1>Two thousand</h1>" in text
    assert "archipel plan meek --budget '2000 USD'" in text


def test_a_page_nobody_would_read_is_refused(tmp_path: Path) -> None:
    asked = ["meek"] * 25 + ["--out", str(tmp_path / "r.html")]
    result = CliRunner().invoke(command, asked, standalone_mode=False)
    assert isinstance(result.exception, Mendable)
    assert "at most 24" in str(result.exception)
