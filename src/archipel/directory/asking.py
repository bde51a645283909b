"""Cards from where they lie: a lab that hands on what it knows, a file that somebody hosts, a file or folder of this machine.

Laws: every answer is bounded in time and bytes, and nobody is followed elsewhere; a source is believed nothing but signatures.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx

from archipel.directory.card import MAX_SEALED_BYTES, BadCard, Card, read_card
from archipel.directory.lines import (
    MAX_FILE_BYTES,
    MAX_LINES,
    SUFFIX,
    NotADirectory,
    Taken,
    read_lines,
)

CARD, LABS = "/card", "/labs"
PAGE = 50
"""Cards of one answer."""
MAX_PAGE_BYTES = PAGE * (MAX_SEALED_BYTES + 1)
SOURCE_LIMIT_S = 30.0
"""All answers of one source together."""
CARD_LIMIT_S = 8.0
CONNECT_LIMIT_S = 5.0
MAX_FILES = 64
"""Of a folder."""
Note = Callable[[int], None]


def _unheard(number: int) -> None:
    pass


class NoSource(ValueError):
    """Nothing came from there, or nothing like cards; the message says what."""


class Asker:
    """Connections to sources, dropped when the block ends."""

    def __init__(self, authorities: ssl.SSLContext) -> None:
        """authorities: whose certificates are believed."""
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(CARD_LIMIT_S, connect=CONNECT_LIMIT_S),
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
            verify=authorities,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, url: str, most: int, **params: str | int) -> bytes:
        """An answer of at most so many bytes. Raises NoSource."""
        body = bytearray()
        try:
            async with self._http.stream("GET", url, params=params or None) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    raise NoSource(
                        f"{url} has nothing to say; its operator can: archipel lab card --set"
                    )
                if answer.status_code != httpx.codes.OK:
                    raise NoSource(f"{url} answered with status {answer.status_code}, expected 200")
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > most:
                        raise NoSource(f"{url} answered with more than {most} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            said = str(error) or type(error).__name__
            raise NoSource(f"{url}: {said:.200}; check the address and that it runs") from None
        return bytes(body)


async def own_card(asker: Asker, url: str) -> Card:
    """What the lab at this address says of itself. Raises NoSource."""
    try:
        async with asyncio.timeout(CARD_LIMIT_S):
            return read_card(await asker.get(url.rstrip("/") + CARD, MAX_SEALED_BYTES))
    except TimeoutError:
        raise NoSource(f"{url}: no whole card in {CARD_LIMIT_S:.0f} s") from None
    except BadCard as error:
        raise NoSource(f"{url}: {error}") from None


async def cards_at(
    asker: Asker,
    url: str,
    known: Mapping[bytes, Card],
    of: str | None = None,
    note: Note = _unheard,
) -> Taken:
    """Every card that a source on the network hands out.

    url: a file's (`.jsonl`), or a lab's. known: cards that need not be verified again. of: where the asker itself can be asked,
    for a lab that does not know it yet. note: hears how many cards came so far.

    Raises:
        NoSource: it does not answer, or not with cards.
    """
    try:
        async with asyncio.timeout(SOURCE_LIMIT_S):
            if url.endswith(SUFFIX):
                data = await asker.get(url, MAX_FILE_BYTES)
                return await asyncio.to_thread(read_lines, data, known, MAX_LINES, note)
            return await _paged(asker, url.rstrip("/") + LABS, known, of, note)
    except TimeoutError:
        raise NoSource(f"{url}: not all cards in {SOURCE_LIMIT_S:.0f} s") from None
    except NotADirectory as error:
        raise NoSource(f"{url}: {error}") from None


async def _paged(
    asker: Asker, url: str, known: Mapping[bytes, Card], of: str | None, note: Note
) -> Taken:
    taken = Taken((), 0)
    offered = {} if of is None else {"of": of}
    while taken.num_lines < MAX_LINES:
        data = await asker.get(url, MAX_PAGE_BYTES, start=taken.num_lines, limit=PAGE, **offered)
        page = await asyncio.to_thread(read_lines, data, known, PAGE)
        taken = taken.plus(page)
        note(taken.num_lines)
        if page.num_lines < PAGE:
            break
    return taken


def cards_in(place: Path, known: Mapping[bytes, Card], note: Note = _unheard) -> Taken:
    """Every card in a file, or in the directory files of a folder.

    Raises:
        NoSource: there is no such place, or it is nothing like cards.
    """
    if place.is_dir():
        files = sorted(each for each in place.iterdir() if each.name.endswith(SUFFIX))
        if not files:
            raise NoSource(
                f"{place} holds no file that ends in {SUFFIX}; expected a directory file"
            )
        files = files[:MAX_FILES]
    else:
        files = [place]
    taken = Taken((), 0)
    for each in files:
        try:
            with each.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            taken = taken.plus(read_lines(data, known))
        except OSError as error:
            raise NoSource(f"{each} cannot be read: {error.strerror}") from None
        except NotADirectory as error:
            raise NoSource(f"{each}: {error}") from None
        note(taken.num_lines)
        if taken.num_lines > MAX_LINES:
            raise NoSource(f"{place} holds more than {MAX_LINES} cards; name one of its files")
    return taken
