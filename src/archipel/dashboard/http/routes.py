"""The routes of the pages: to be added to a lab's own, or to be served alone.

Law: pages are cut in threads, at most `AT_ONCE` at a time; nothing of a stranger's question is kept but a page that is
there; a ledger or a chronicle that cannot be read is said on the page.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from archipel.dashboard.chronicle.file import ChronicleUnusable
from archipel.dashboard.http import frame
from archipel.dashboard.http.cache import Cache, Kept
from archipel.dashboard.http.events import Listeners
from archipel.dashboard.http.files import file_routes
from archipel.dashboard.http.headers import SECURE
from archipel.dashboard.http.site import asked_of, page_at
from archipel.dashboard.pages.asked import NotAsked, NotThere, Sight
from archipel.dashboard.pages.value import Notice, Page
from archipel.dashboard.series import NoSeries, Series
from archipel.dashboard.source import Source
from archipel.ledger.storage import LedgerCorrupt, LedgerError
from archipel.records.mirror_documents import MirrorView
from archipel.records.page_documents import KnownLabView, ReleaseView

AT_ONCE = 4
MAX_PATH, MAX_QUERY = 2000, 400
HTML, JSON, RAW = "text/html; charset=utf-8", "application/json", "application/json"
LEFT_OUT = "curves are left out: the chronicle beside the ledger cannot be read now"
"""Where it lies, and what the disk says of it, is no stranger's business."""
_SECOND_MS = 1000
_NUMBER = re.compile(r"[0-9]{1,16}")
Releases = Callable[[], Sequence[ReleaseView]]
Labs = Callable[[], Sequence[KnownLabView]]
Mirrors = Callable[[], Sequence[MirrorView]]


class Site:
    """All that pages are answered from."""

    def __init__(
        self,
        source: Source,
        series: Series | None = None,
        releases: Releases | None = None,
        labs: Labs | None = None,
        mirrors: Mirrors | None = None,
    ) -> None:
        self.source: Source = source
        self.series: Series = NoSeries() if series is None else series
        self.releases: Releases = releases or (lambda: ())
        self.labs: Labs = labs or (lambda: ())
        self.mirrors: Mirrors = mirrors or (lambda: ())
        self.listeners = Listeners(source)
        self._cache = Cache()
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def kept_pages(self) -> int:
        """Rendered ones, at hand."""
        return len(self._cache)

    async def page(self, request: Request) -> Response:
        """Any page, as HTML or JSON."""
        where = _where(request)
        if len(where) > MAX_PATH or len(request.url.query) > MAX_QUERY:
            return self._refused(
                f"an address of at most {MAX_PATH} characters, asked at most {MAX_QUERY}", 414
            )
        async with self._turns:
            kept = await asyncio.to_thread(self._kept, where, request)
        tag = f'"{kept.mark}"'
        headers = SECURE | {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag and kept.status == 200:
            return Response(status_code=304, headers=headers)
        return Response(kept.body, kept.status, headers, kept.kind)

    def _kept(self, where: str, request: Request) -> Kept:
        """Cut and rendered, unless it was, from this look and in this second."""
        look = self.source.look()
        known = asked_of(where.removesuffix(".json"))
        query = {name: value for name, value in request.query_params.items() if name in known}
        is_part = "part" in request.query_params
        series, problem = self._readable()
        sight = Sight(
            self.source, look, series, self.releases(), query, self.labs(), tuple(self.mirrors())
        )
        mark = f"{look.size}-{series.size}-{look.now_ms // _SECOND_MS}"
        key = (where, is_part, tuple(sorted(query.items())))
        return self._cache.get(key, mark, lambda: self._made(sight, where, is_part, mark, problem))

    def _readable(self) -> tuple[Series, str]:
        """The chronicle; where it cannot be read, none, and why."""
        try:
            _ = self.series.size
        except ChronicleUnusable:
            return NoSeries(), LEFT_OUT
        return self.series, ""

    def _cut(self, sight: Sight, where: str) -> tuple[Page, int, str]:
        """A page, its status, and what is missing on it."""
        try:
            return page_at(sight, where), 200, ""
        except ChronicleUnusable:
            page, status, _ = self._cut(replace(sight, series=NoSeries()), where)
            return page, status, LEFT_OUT
        except NotThere as error:
            words, status = str(error), 404
        except NotAsked as error:
            words, status = str(error), 400
        except (LedgerError, OSError) as error:
            words, status = _unread(error), 503
        return _sorry(words, status, sight.look.size), status, ""

    def _made(self, sight: Sight, where: str, is_part: bool, mark: str, problem: str) -> Kept:
        is_json = where.endswith(".json")
        bare = where.removesuffix(".json")
        bare = "" if is_json and bare == "index" else bare
        page, status, missing = self._cut(sight, bare)
        lab, now_ms = self.source.lab, sight.look.now_ms
        if is_json:
            return Kept(frame.as_json(page, lab, now_ms), JSON, status, mark)
        return Kept(
            frame.html(
                page, lab, now_ms, is_part, problem=_problem(self.source) or problem or missing
            ),
            HTML,
            status,
            mark,
        )

    async def raw(self, request: Request) -> Response:
        """The bytes of one entry, as the ledger holds them."""
        word = request.path_params["number"]
        if not _NUMBER.fullmatch(word):
            return self._refused("no entry has such a number; expected 1 to 16 digits", 404)
        number = int(word)
        try:
            async with self._turns:
                found = await asyncio.to_thread(self.source.entries, number, 1)
        except (LedgerError, OSError) as error:
            return self._refused(_unread(error), 503)
        if not found:
            return self._refused(f"the ledger has no entry {number}", 404)
        headers = SECURE | {"Content-Disposition": f'attachment; filename="entry-{number}.json"'}
        return Response(found[0], 200, headers | {"Cache-Control": "public, max-age=86400"}, RAW)

    def _refused(self, words: str, status: int) -> Response:
        return Response(words + "\n", status, SECURE, "text/plain; charset=utf-8")


def page_routes(site: Site, sessions: Sequence[BaseRoute] = ()) -> list[BaseRoute]:
    """All of them; `sessions`: routes of the log-in, which come before the pages."""

    async def home(request: Request) -> Response:
        return RedirectResponse("/pages/", 307, SECURE)

    answered: Callable[[Request], Awaitable[Response]] = site.page
    return [
        Route("/", home, methods=["GET"]),
        Route("/pages", home, methods=["GET"]),
        Route("/pages/events", site.listeners.route, methods=["GET"]),
        *sessions,
        *file_routes(),
        Route("/pages/ledger/{number}.raw", site.raw, methods=["GET"]),
        Route("/pages/{rest:path}", answered, methods=["GET"]),
    ]


def _where(request: Request) -> str:
    """The address after `/pages/`, still percent-encoded: a name may hold a slash."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    return str(raw.partition(b"?")[0].decode("ascii", "replace").removeprefix("/pages/"))


def _problem(source: Source) -> str:
    """What stopped a replica; empty: nothing did."""
    return str(getattr(source, "problem", None) or "")


def _unread(error: Exception) -> str:
    """Of a ledger; what a disk or a database says of it is no stranger's business."""
    said = f": {error}" if isinstance(error, LedgerCorrupt) else ""
    return f"the ledger cannot be read now{said}; try again"


SORRY = {404: "Not found", 400: "Not understood", 503: "Not readable"}


def _sorry(words: str, status: int, size: int) -> Page:
    return Page(SORRY[status], "/pages/", "", size, notices=(Notice(words, "warn"),))
