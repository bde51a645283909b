"""Pages: each is answered, tells the same as JSON and as the terminal, and lets no stranger's text become markup."""

import asyncio
import io
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from starlette.applications import Starlette

from archipel.cli.run_page import for_machines
from archipel.cli.watching import Scene, picture
from archipel.curves.history import History
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.dashboard.chronicled import Chronicled
from archipel.dashboard.http import frame
from archipel.dashboard.http.cache import Cache, Kept
from archipel.dashboard.http.events import MOST_OF_ADDRESS, Listeners
from archipel.dashboard.http.routes import Site, page_routes
from archipel.dashboard.http.site import asked_of, page_at
from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight
from archipel.dashboard.pages.run import figures
from archipel.dashboard.pages.value import Page
from archipel.ledger.storage import LedgerCorrupt, LedgerError
from dashboard.pages_world import PagesWorld, pages_world
from people import identity

NORTH = identity("north").did
ADDRESSES = (
    "", "runs", "runs/run", "runs/harbour", "nodes", "nodes?by=earned", "nodes?by=work&start=2", f"nodes/{NORTH}",
    "operators", f"operators/{NORTH}", f"operators/{NORTH}?by=minute", "market/harbour", "audits", "audits?run=run",
    "ledger", "ledger?from=3", "ledger/0", "models", "models/ferry-1",
    "mirrors", "pledges", "pledges?run=run", "pledges?start=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesWorld]:
    made = pages_world(tmp_path_factory.mktemp("pages"), versions=4, steps=5)
    yield made
    made.close()


def asked(site: Site, *ways: str, method: str = "GET", **headers: str) -> list[httpx.Response]:
    """Answers over HTTP, without a socket."""

    async def ask() -> list[httpx.Response]:
        app = httpx.ASGITransport(Starlette(routes=page_routes(site)))
        async with httpx.AsyncClient(transport=app, base_url="http://lab.test") as client:
            return [await client.request(method, f"/pages/{way}", headers=headers) for way in ways]

    return asyncio.run(ask())


def sight(world: PagesWorld, **query: str) -> Sight:
    site = world.site
    return Sight(site.source, site.source.look(), site.series, site.releases(), query)


class Elements(HTMLParser):
    """What a browser would make of it: elements with the names of their attributes, links, text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.links: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[(tag, *sorted(name for name, _ in attrs))] += 1
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def test_every_page_is_answered_with_links_to_this_site_alone(told: PagesWorld) -> None:
    for way, answer in zip(ADDRESSES, asked(told.site, *ADDRESSES), strict=True):
        assert answer.status_code == 200, (way, answer.text[:200])
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert all(link.startswith(("/pages", "#main")) for link in Elements(answer.content).links)
        assert "<h1>" in answer.text
        assert len(answer.content) < 120_000


def test_every_link_leads_to_a_page(told: PagesWorld) -> None:
    links = {
        link.removeprefix("/pages/")
        for answer in asked(
            told.site, "", "runs/run", "market/harbour", "audits", "models/ferry-1", "pledges"
        )
        for link in Elements(answer.content).links
        if link.startswith("/pages/") and not link.startswith(("/pages/me", "/pages/ledger/"))
    }
    answers = asked(told.site, *sorted(links))
    assert len(answers) > 20
    assert [str(each.url) for each in answers if each.status_code != 200] == []


def test_json_is_the_same_page(told: PagesWorld) -> None:
    (answer,) = asked(told.site, "runs/run.json")
    page = page_at(sight(told), "runs/run")
    told_, shown = answer.json(), json.loads(frame.as_json(page, told.site.source.lab, 0))
    assert told_["sections"] == shown["sections"]
    assert told_["figures"] == shown["figures"]
    assert told_["lab"] == told.site.source.lab


def test_a_page_that_did_not_change_is_not_sent_again(told: PagesWorld) -> None:
    (first,) = asked(told.site, "runs")
    (again,) = asked(told.site, "runs", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    told.world.now_ms += 2000
    (later,) = asked(told.site, "runs", **{"If-None-Match": first.headers["etag"]})
    assert later.status_code == 200
    (head,) = asked(told.site, "runs", method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("nothing", 404), ("runs/nobody", 404), ("runs/", 404), ("runs/run/more", 404), ("ledger/99999", 404),
        ("ledger/-1", 404), ("ledger/01", 404), ("ledger/7777777.raw", 404), ("nodes?by=beauty", 400),
        ("nodes?start=-1", 400), ("runs?start=99999999999999", 400), ("audits?run=nobody", 404), ("pledges?run=nobody", 404),
        ("market/run", 404), ("models/none", 404), ("x" * 3000, 414), ("static/../app.css", 404), ("static/none.js", 404),
        ("runs/%2e%2e%2f%2e%2e%2fetc", 404), ("%ff%fe", 404), ("nodes.json?by=beauty", 400),
        (f"ledger/{'9' * 1500}.raw", 404), (f"ledger/{'9' * 5000}.raw", 404), ("ledger/-1.raw", 404),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_sentence(told: PagesWorld, way: str, status: int) -> None:
    (answer,) = asked(told.site, way)
    assert answer.status_code == status
    assert answer.text.strip()
    assert "Traceback" not in answer.text


def test_the_page_and_run_watch_show_the_same_figures_of_the_same_views(told: PagesWorld) -> None:
    look = told.site.source.look()
    for name in ("run", "harbour"):
        view = look.run(name)
        assert view is not None
        history = told.site.series.history(name, 128)
        page = page_at(sight(told), f"runs/{name}")
        figures = {each.name: each for each in page.figures}
        scene = Scene([view], look.nodes(0, 50), look.waits(), {name: history})
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(picture(scene, 200, 60))
        seen = console.export_text()
        machines = for_machines(view, history, look.waits())
        assert figures["version"].text in seen
        assert figures["version"].value == machines["version"] == view.version
        assert f"reward {figures['reward'].text}" in seen
        assert figures["reward"].value == machines["reward"]
        assert f"learner {figures['learner_utilisation'].text}" in seen
        assert figures["learner_utilisation"].value == machines["learner_utilisation"]
        assert figures["spent_micro"].value == machines["spent_micro"]
        assert f"credits {view.spent_micro / 1e6:.4f}" in seen
        assert figures["exam_greedy"].value == machines["evaluations"][-1]["greedy"]
        assert (
            f"greedy {figures['exam_greedy'].text} @{machines['evaluations'][-1]['version']}"
            in seen
        )
        notices = [each.text for each in page.notices]
        warned = [f"warning: {each['kind']}: {each['text']}" for each in machines["warnings"]]
        assert [each for each in notices if each.startswith("warning")] == warned
        assert [each for each in notices if each.startswith("verdict")] == [
            f"verdict: {each}" for each in view.verdicts
        ]
        facts = {
            row[0].text: row[1].text
            for section in page.sections
            for table in section.tables
            if table.id == "newest"
            for row in table.rows
        }
        assert facts.keys() == {each.replace("_", " ") for each in machines["measured"]}


def test_every_point_of_a_curve_names_the_entry_that_proves_it(told: PagesWorld) -> None:
    page = page_at(sight(told), "runs/run")
    charts = {each.id: each for section in page.sections for each in section.charts}
    assert {"reward", "loss", "held-out", "staleness", "bytes", "busy", "cost"} <= charts.keys()
    for chart in charts.values():
        assert len(chart.entries) == len(chart.xs) == len(chart.lines[0].values)
    for version, entry in zip(charts["reward"].xs, charts["reward"].entries, strict=True):
        (found,) = (each for each in asked(told.site, f"ledger/{entry}.json"))
        record = json.loads(found.json()["sections"][0]["code"][0])
        assert record["answer"]["version"] == version
        assert record["answer"]["kind"] == "update"


def test_prices_stand_beside_what_is_paid_at_most_and_at_a_data_centre(told: PagesWorld) -> None:
    view = told.site.source.look().market("harbour", 1)
    assert view is not None
    sections = {each.id: each for each in page_at(sight(told), "market/harbour").sections}
    cleared, *others = sections["prices"].charts[0].lines
    prices = [
        each.price_micro / 1e6
        for each in told.site.series.cleared("harbour", 9)
        if each.price_micro
    ]
    assert cleared.values == pytest.approx(prices, rel=1e-5)
    assert {(each.name, *set(each.values)) for each in others} == {
        ("reserve", view.terms.reserve_micro / 1e6), ("data centre", 0.88)
    }  # fmt: skip


def test_what_is_left_of_a_budget_is_shown_only_where_there_is_one(told: PagesWorld) -> None:
    view = told.site.source.look().run("run")
    assert view is not None
    funded = view.model_copy(update={"left_micro": 2_500_000, "funded_micro": 10_000_000})
    names = [each.name for each in figures(view, History("run", 0, (), ()), (), None)]
    assert "left_micro" not in names
    (left,) = (each for each in figures(funded, History("run", 0, (), ()), (), None) if each.name == "left_micro")  # fmt: skip
    assert (left.text, left.value, left.note) == ("2.50", 2_500_000, "of 10.00 set aside")


def test_an_entrys_raw_bytes_are_the_ledgers(told: PagesWorld) -> None:
    answer, missing = asked(told.site, "ledger/3.raw", "ledger/999999.raw")
    assert (answer.status_code, missing.status_code) == (200, 404)
    assert [answer.content] == told.world.lab.log.read(3, 1)


def test_a_central_run_costs_what_its_tokens_cost_at_the_stated_price(told: PagesWorld) -> None:
    page = page_at(sight(told), "runs/harbour")
    chart = next(each for section in page.sections for each in section.charts if each.id == "cost")
    rows = told.site.series.measured("harbour", 100)
    own, central = chart.lines
    assert central.values[-1] == pytest.approx(rows[-1].tokens * 0.88 / 1e6, rel=1e-5)
    assert own.values[-1] == pytest.approx(rows[-1].paid_micro / 1e6, rel=1e-5)
    plain = page_at(sight(told), "runs/run")
    unknown = next(
        each for section in plain.sections for each in section.charts if each.id == "cost"
    )
    assert len(unknown.lines) == 1
    assert "not known" in unknown.note


def test_a_chronicle_that_is_behind_or_broken_is_said(told: PagesWorld, tmp_path: Path) -> None:
    behind = Site(told.site.source, None)
    (answer,) = asked(behind, "runs/run")
    assert f"Series up to entry 0 of {told.world.state.size:,}" in answer.text
    broken = tmp_path / "chronicle.sqlite"
    broken.write_bytes(b"no database at all, although it is long enough to be looked at" * 99)
    (answer,) = asked(Site(told.site.source, Chronicled(Chronicle(broken))), "runs/run")
    assert answer.status_code == 200
    assert "curves are left out" in answer.text
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    "damage",
    ["UPDATE point SET metrics = '['", """UPDATE point SET metrics = '{"loss_micro":"x"}'""", "DROP TABLE age", "DROP TABLE name"],
)  # fmt: skip
def test_a_chronicle_that_is_damaged_somewhere_costs_a_page_its_curves_alone(
    told: PagesWorld, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "chronicle.sqlite"
    with closing(sqlite3.connect(told.path)) as whole, closing(sqlite3.connect(path)) as copy:
        whole.backup(copy)
        copy.execute(damage)
        copy.commit()
    (answer,) = asked(Site(told.site.source, Chronicled(Chronicle(path))), "runs/run")
    assert answer.status_code == 200
    assert "curves are left out" in answer.text
    assert str(tmp_path) not in answer.text


def test_a_damaged_schema_that_is_no_text_is_said_too(told: PagesWorld, tmp_path: Path) -> None:
    path = tmp_path / "chronicle.sqlite"
    with closing(sqlite3.connect(told.path)) as whole, closing(sqlite3.connect(path)) as copy:
        whole.backup(copy)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE growth", b"\x97REATE TABLE gr\x98wth", 1))
    assert path.read_bytes() != data
    (answer,) = asked(Site(told.site.source, Chronicled(Chronicle(path))), "")
    assert answer.status_code == 200
    assert "curves are left out" in answer.text
    assert str(tmp_path) not in answer.text


class Elsewhere:
    """A source some of whose answers are others."""

    def __init__(self, source: Any, **others: Any) -> None:
        self._source = source
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@pytest.mark.parametrize(
    ("error", "words"),
    [(LedgerCorrupt("entries from 0 are others"), "others"), (LedgerError("at /home/x"), "again"), (OSError("/home/x"), "again")],
)  # fmt: skip
def test_a_ledger_that_cannot_be_read_now_is_said_and_its_place_is_not(
    told: PagesWorld, error: Exception, words: str
) -> None:
    def entries(start: int, limit: int) -> list[bytes]:
        raise error

    site = Site(Elsewhere(told.site.source, entries=entries))
    for answer in asked(site, "ledger", "ledger/0", "ledger/0.json", "ledger/0.raw"):
        assert answer.status_code == 503
        assert words in answer.text
        assert "/home" not in answer.text


@pytest.mark.parametrize("now_ms", [-(2**53) + 1, -1, 2**53 - 1])
def test_a_time_that_no_calendar_has_is_shown_as_a_number(told: PagesWorld, now_ms: int) -> None:
    look = Elsewhere(told.site.source.look(), now_ms=now_ms)
    (answer,) = asked(Site(Elsewhere(told.site.source, look=lambda: look)), "runs/run")
    assert answer.status_code == 200


class Noting(dict[str, str]):
    """Says which names were looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: set[str] = set()

    def get(self, name: str, usual: Any = None) -> Any:
        self.looked.add(name)
        return super().get(name, usual)


@pytest.mark.parametrize("way", sorted({each.partition("?")[0] for each in ADDRESSES}))
def test_what_a_page_looks_for_in_a_question_is_what_it_may_be_asked(
    told: PagesWorld, way: str
) -> None:
    query = Noting()
    page_at(replace(sight(told), query=query), way)
    assert query.looked == set(asked_of(way))


def test_what_no_page_is_asked_makes_no_page_anew(told: PagesWorld) -> None:
    one, other = asked(told.site, "nodes?x=1", "nodes?y=%00&x=2&x=3")
    assert told.site.kept_pages > 0
    kept = told.site.kept_pages
    asked(told.site, *(f"nodes?z={number}" for number in range(5)), "nowhere", "nodes?by=no")
    asked(told.site, "runs/run")
    kept = told.site.kept_pages
    asked(told.site, *(f"runs/run?start={number}&from=1&by=work" for number in range(5)))
    assert (told.site.kept_pages, one.content) == (kept, other.content)


# --- strangers ------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "javascript:alert(1)",
    "</script></table></main><h1>", "{{ 7 * 7 }}{% raw %}", "\u202edrowssap\u2066", "a\x00b\x1b[2Jc", "\u2028\u2029\ufeff", "x" * 5000,
    "did:key:<b>", "../../etc/passwd", "&lt;b&gt;&#x3c;",
)  # fmt: skip
_OURS = frozenset({"phase", "programme", "policy", "charter", "terms", "market"})
"""Fields that no stranger fills in, or that are values of a closed list."""


class Spoiled:
    """A look in which every word that a stranger could have said is `word`."""

    def __init__(self, look: Any, word: str) -> None:
        self._look, self._word = look, word

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._look, name)
        if not callable(found):
            return found
        # Names are looked up as they are; what is told of them is spoiled.
        return lambda *args, **more: spoiled(found(*args, **more), self._word)


def spoiled(value: Any, word: str) -> Any:
    if isinstance(value, str):
        return word
    if isinstance(value, dict):
        return {
            word if isinstance(name, str) else name: spoiled(each, word)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(spoiled(each, word) for each in value)
    if hasattr(value, "model_fields_set"):
        changed = {
            name: spoiled(getattr(value, name), word)
            for name in type(value).model_fields
            if name not in _OURS and name != "evaluations"
        }
        return value.model_copy(update=changed)
    return value


class SpoiledSource:
    """A source whose head says `word`, too."""

    is_lab, problem = True, None

    def __init__(self, source: Any, word: str) -> None:
        self._source, self.lab = source, word
        self.word = word

    def head(self) -> str:
        return f"{self.word}\n12\n— {self.word} AAAA\n— other {self.word}"

    def entries(self, start: int, limit: int) -> list[bytes]:
        return [*self._source.entries(start, limit - 1), self.word.encode()[:limit]]


def test_nothing_that_a_stranger_says_becomes_markup(told: PagesWorld) -> None:
    check_spoiled(told, " ".join(each[:40] for each in HOSTILE))


@pytest.mark.slow
@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_of_any_such_word_becomes_markup(told: PagesWorld, word: str) -> None:
    check_spoiled(told, word)


def check_spoiled(told: PagesWorld, word: str) -> None:
    whole = sight(told)
    releases = tuple(spoiled(each, word) for each in whole.releases)
    plain, evil = (
        Sight(
            SpoiledSource(whole.source, each),
            Spoiled(whole.look, each),
            whole.series,
            spoiled(releases, each),
        )  # type: ignore[arg-type]
        for each in ("plain", word)
    )
    for way in ("", "runs", "runs/run", "runs/harbour", "nodes", f"nodes/{NORTH}", "operators", f"operators/{NORTH}",
                "market/harbour", "audits", "ledger", "ledger/2", "models", "pledges"):  # fmt: skip
        pages = [page_at(each, way) for each in (plain, evil)]
        harmless, spoilt = (
            Elements(frame.html(page, page.title, 0, problem=words)).found
            for page, words in zip(pages, ("plain", word), strict=True)
        )
        names = [{key[0] for key in each} for each in (harmless, spoilt)]
        assert names[0] >= names[1] - {"a"}, (way, names[1] - names[0])
        attributes = [{name for key in each for name in key[1:]} for each in (harmless, spoilt)]
        assert attributes[1] - attributes[0] <= {"title", "href", "class"}, way
        assert spoilt[("script", "defer", "src")] == 2
        text = frame.html(pages[1], word, 0, problem=word)
        assert all(link.startswith(("/pages", "#main")) for link in Elements(text).links)
        assert not any(sign in text.decode() for sign in ("\x00", "\x1b", "\u202e", "\u2066"))
        json.loads(frame.as_json(pages[1], word, 0))


def test_signs_that_move_or_hide_text_are_shown_as_numbers() -> None:
    assert (
        wording.shown("a\u202eb\x00\x1b\ufeff\u2066c d") == r"a\u202eb\u0000\u001b\ufeff\u2066c d"
    )
    assert wording.shown("日本 é") == "日本 é"
    assert len(wording.shown("x" * 5000)) == wording.MAX_SHOWN


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_name_in_an_address_is_found_again_whatever_it_is(name: str) -> None:
    class One:
        size, now_ms = 1, 0

        def run(self, asked_name: str) -> None:
            self.asked = asked_name

    look = One()
    with pytest.raises(NotThere):
        page_at(Sight(None, look, None), paths.run(name).removeprefix("/pages/"))  # type: ignore[arg-type]
    assert look.asked == name


# --- what is kept, and who listens ----------------------------------------------------------------


def test_a_page_is_made_once_for_all_who_ask_in_the_same_second() -> None:
    made = []

    def make(mark: str) -> Callable[[], Kept]:
        def made_now() -> Kept:
            made.append(mark)
            return Kept(b"x" * 100, "text/html", 200, mark)

        return made_now

    cache = Cache(most=3, most_bytes=350)
    for _ in range(5):
        cache.get("a", "1", make("1"))
    assert made == ["1"]
    cache.get("a", "2", make("2"))
    assert made == ["1", "2"]
    for key in "bcdefg":
        cache.get(key, "2", make("2"))
    assert cache.num_bytes == 300


class Growing:
    """A source that grows when told to."""

    def __init__(self) -> None:
        self.size, self.now_ms = 5, 0

    def look(self) -> "Growing":
        return self

    async def grown(self, size: int, limit_s: float) -> int:
        await asyncio.sleep(0)
        return self.size


def test_a_listener_is_told_at_once_what_it_missed_and_only_how_large_the_ledger_is() -> None:
    source = Growing()
    listeners = Listeners(source)  # type: ignore[arg-type]

    async def story() -> list[bytes]:
        heard: list[bytes] = []
        stream: AsyncIterator[bytes] = listeners.told("here", 3)
        heard.append(await anext(stream))
        heard.append(await anext(stream))
        assert listeners.number == 1
        heard.append(await anext(stream))
        source.size = 8
        heard.append(await anext(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        assert listeners.number == 0
        return heard

    said = asyncio.run(story())
    assert said[1:] == [
        b'id: 5\ndata: {"size":5}\n\n',
        b": here\n\n",
        b'id: 8\ndata: {"size":8}\n\n',
    ]


def test_one_address_cannot_take_all_places() -> None:
    listeners = Listeners(Growing())  # type: ignore[arg-type]

    async def story() -> None:
        streams = [listeners.told("here", None) for _ in range(MOST_OF_ADDRESS)]
        for each in streams:
            await anext(each)
        scope = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "query_string": b"",
            "path": "/pages/events",
        }
        from starlette.requests import Request

        refused = await listeners.route(Request(scope | {"client": ("here", 1)}))
        other = await listeners.route(Request(scope | {"client": ("there", 1)}))
        assert (refused.status_code, other.status_code) == (503, 200)
        for each in streams:
            await each.aclose()  # type: ignore[attr-defined]

    asyncio.run(story())


def test_places_are_taken_when_they_are_given_and_by_neighbourhood() -> None:
    listeners = Listeners(Growing())  # type: ignore[arg-type]
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": "/pages/events"}  # fmt: skip

    async def story() -> list[int]:
        from starlette.requests import Request

        coming = [
            await listeners.route(Request(scope | {"client": (f"2001:db8::{number:x}", 1)}))
            for number in range(MOST_OF_ADDRESS + 1)
        ]
        assert listeners.number == MOST_OF_ADDRESS
        statuses = [each.status_code for each in coming]
        del coming
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert listeners.number == 0
        return statuses

    assert asyncio.run(story()) == [200] * MOST_OF_ADDRESS + [503]


def test_pages_say_whose_moment_they_are(told: PagesWorld) -> None:
    page: Page = page_at(sight(told), "")
    assert page.size == told.world.state.size
    assert page.told_to == told.site.series.size
