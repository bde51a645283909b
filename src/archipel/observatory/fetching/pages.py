"""The loop that fetches page after page into a journal until the listing ends or enough came.

Laws: a page is asked for once if it comes; attempts are spaced by `patience`; a listing that leads back to a page it
had, or brings the same bytes again and again, is left with a sentence. Clock and sleep are arguments.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from archipel.observatory.fetching.asking import Answer, AskAgain, Asking, CannotFetch
from archipel.observatory.fetching.journal import MAX_PAGES, Journal, Page, body_of, kept_pages
from archipel.observatory.fetching.patience import Patience, asked_s
from archipel.observatory.fetching.sources import Place, next_page
from archipel.observatory.importers.lines import BadTable
from archipel.records.canonical import sha256_digest

MAX_SAME = 3
"""Pages with bytes that another had, before the listing is left."""
MAX_TAG_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as the loop knows it."""

    now_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Fetching:
    """One fetch."""

    place: Place
    asking: Asking
    patience: Patience
    day: str
    clock: Clock = field(default_factory=Clock)
    tell: Callable[[str], None] = lambda _: None
    """Told of each page and each wait."""
    earlier: Path | None = None
    """Pages of an earlier fetch, by whose tags unchanged ones need not come again."""
    may_go_on: Callable[[], bool] = lambda: True
    _asked_s: float | None = None

    def fill(self, journal: Journal) -> bool:
        """Fetch what the journal lacks; whether all is there (False: asked to stop).

        Raises:
            CannotFetch: it cannot be had; NoPatience: not now.
        """
        until_s = self.clock.now_s() + self.patience.deadline_s
        tags = {each.url: each for each in (kept_pages(self.earlier) if self.earlier else [])}
        while (url := self._next(journal)) is not None:
            if not self.may_go_on():
                return False
            if len(journal.pages) >= MAX_PAGES:
                raise CannotFetch(f"more than {MAX_PAGES} pages; ask for fewer by --limit")
            answer, body, num_facts = self._page(url, tags.get(url), until_s)
            follows = next_page(answer.headers, answer.url) if self.place.is_paged else None
            if answer.body is None and url in tags:
                follows = tags[url].next
            page = Page(
                number=len(journal.pages) + 1,
                url=url,
                sha256=sha256_digest(body),
                num_bytes=len(body),
                num_facts=num_facts,
                tag=_tag(answer, tags.get(url)),
                retrieved=self.day,
                next=follows,
            )
            self._see_progress(journal, page)
            journal.keep(page, body)
            self.tell(f"page {page.number}: {journal.num_facts} of at most {journal.begun.limit}")
        return True

    def _next(self, journal: Journal) -> str | None:
        if not journal.pages:
            return journal.begun.url
        last = journal.pages[-1]
        enough = journal.num_facts >= journal.begun.limit or last.num_facts == 0
        return None if enough else last.next

    def _page(self, url: str, kept: Page | None, until_s: float) -> tuple[Answer, bytes, int]:
        attempt = 0
        while True:
            self._wait_for_pace()
            try:
                answer = self.asking.ask(url, kept.tag if kept is not None else None)
                body = answer.body
                if body is None:
                    body = self._unchanged(url, kept)
                return answer, body, self.place.num_of(body)
            except AskAgain as error:
                why, said_s = str(error), asked_s(error.headers, self.clock.wall_s())
            except BadTable as error:
                why, said_s = f"{url:.160} is no page of {self.place.title}: {error}", None
            attempt += 1
            left_s = until_s - self.clock.now_s()
            pause_s = self.patience.pause_s(attempt, said_s, left_s, why)
            self.tell(f"{why}; again in {pause_s:.0f} s")
            self.clock.sleep(pause_s)

    def _unchanged(self, url: str, kept: Page | None) -> bytes:
        body = (
            body_of(self.earlier, kept) if self.earlier is not None and kept is not None else None
        )
        if body is None:
            raise CannotFetch(f"{url:.160} answered 304 to a request that named no copy")
        return body

    def _wait_for_pace(self) -> None:
        now_s = self.clock.now_s()
        if self._asked_s is not None and now_s - self._asked_s < self.patience.pace_s:
            self.clock.sleep(self.patience.pace_s - (now_s - self._asked_s))
        self._asked_s = self.clock.now_s()

    def _see_progress(self, journal: Journal, page: Page) -> None:
        known = {each.url for each in journal.pages} | {page.url}
        if page.next in known:
            raise CannotFetch(
                f"page {page.number} leads back to a page that came before ({page.next:.160}): "
                "the listing goes in a circle; what came is kept"
            )
        same = sum(each.sha256 == page.sha256 for each in journal.pages)
        if same >= MAX_SAME:
            raise CannotFetch(
                f"page {page.number} has the bytes of {same} pages before it: the listing brings nothing new; "
                "what came is kept"
            )


def _tag(answer: Answer, kept: Page | None) -> str:
    if answer.body is None and kept is not None:
        return kept.tag
    tag: str = answer.headers.get("etag", "")
    return tag if len(tag) <= MAX_TAG_CHARACTERS and tag.isprintable() else ""
