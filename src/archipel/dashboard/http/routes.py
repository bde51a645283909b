"""The routes of the pages: to be added to a lab's own, or to be served alone.

Law: pages are cut in threads, at most `AT_ONCE` at a time; nothing of a stranger's question is kept but a rendered page.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from archipel.dashboard.chronicle.file import ChronicleUnusable
from archipel.dashboard.http import frame
from archipel.dashboard.http.cache import Cache, Kept
from archipel.dashboard.http.events import Listeners
from archipel.dashboard.http.files import file_routes
from archipel.dashboard.http.headers import SECURE
from archipel.dashboard.http.site import page_at
from archipel.dashboard.pages.asked import NotAsked, NotThere, Sight
from archipel.dashboard.pages.value import Notice, Page
from archipel.dashboard.series import NoSeries, Series
from archipel.dashboard.source import Source
from archipel.records.page_documents import ReleaseView

AT_ONCE = 4
MAX_PATH, MAX_QUERY = 2000, 400
HTML, JSON, RAW = "text/html; charset=utf-8", "application/json", "application/json"
_SECOND_MS = 1000
Releases = Callable[[], Sequence[ReleaseView]]


class Site:
    """All that pages are answered from."""

    def __init__(
        self, source: Source, series: Series | None = None, releases: Releases | None = None
    ) -> None:
        self.source: Source = source
        self.series: Series = NoSeries() if series is None else series
        self.releases: Releases = releases or (lambda: ())
        self.listeners = Listeners(source)
        self._cache = Cache()
        self._turns = asyncio.Semaphore(AT_ONCE)

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
        query = {name: value for name, value in request.query_params.items() if name != "part"}
        is_part = "part" in request.query_params
        series, problem = self._readable()
        sight = Sight(self.source, look, series, self.releases(), query)
        mark = f"{look.size}-{series.size}-{look.now_ms // _SECOND_MS}"
        key = (where, is_part, tuple(sorted(query.items())))
        return self._cache.get(key, mark, lambda: self._made(sight, where, is_part, mark, problem))

    def _readable(self) -> tuple[Series, str]:
        """The chronicle; where it cannot be read, none, and why."""
        try:
            _ = self.series.size
        except ChronicleUnusable as error:
            return NoSeries(), f"curves are left out: {error}"
        return self.series, ""

    def _made(self, sight: Sight, where: str, is_part: bool, mark: str, problem: str) -> Kept:
        is_json = where.endswith(".json")
        bare = where.removesuffix(".json")
        bare = "" if is_json and bare == "index" else bare
        try:
            page, status = page_at(sight, bare), 200
        except (NotThere, NotAsked) as error:
            status = 404 if isinstance(error, NotThere) else 400
            page = _sorry(str(error), status, sight.look.size)
        lab, now_ms = self.source.lab, sight.look.now_ms
        if is_json:
            return Kept(frame.as_json(page, lab, now_ms), JSON, status, mark)
        return Kept(
            frame.html(page, lab, now_ms, is_part, problem=_problem(self.source) or problem),
            HTML,
            status,
            mark,
        )

    async def raw(self, request: Request) -> Response:
        """The bytes of one entry, as the ledger holds them."""
        number = int(request.path_params["number"])
        found = await asyncio.to_thread(self.source.entries, number, 1) if number < 2**53 else ()
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
        Route("/pages/ledger/{number:int}.raw", site.raw, methods=["GET"]),
        Route("/pages/{rest:path}", answered, methods=["GET"]),
    ]


def _where(request: Request) -> str:
    """The address after `/pages/`, still percent-encoded: a name may hold a slash."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    return str(raw.partition(b"?")[0].decode("ascii", "replace").removeprefix("/pages/"))


def _problem(source: Source) -> str:
    """What stopped a replica; empty: nothing did."""
    return str(getattr(source, "problem", None) or "")


def _sorry(words: str, status: int, size: int) -> Page:
    title = "Not found" if status == 404 else "Not understood"
    return Page(title, "/pages/", "", size, notices=(Notice(words, "warn"),))
