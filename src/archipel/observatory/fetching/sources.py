"""What can be fetched: where it begins, how a page leads to the next, and whether bytes are a page.

Law: what is no page is refused before it is kept.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urljoin

from archipel.observatory.importers import epoch, hugging_face
from archipel.observatory.importers.lines import read_table

MAX_LINK_CHARACTERS = 8_000
MODELS_A_PAGE = 500
_NEXT = re.compile(r'<([^<>\s]{1,4000})>\s*;[^,<]{0,200}?\brel="?next"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A public interface, and what is said of facts from it."""

    title: str
    base: str
    path: str
    licence: str
    hosts: frozenset[str]
    """That it may send us on to."""
    num_of: Callable[[bytes], int]
    """Facts on a page; raises BadTable if the bytes are none."""
    is_paged: bool = False

    def start(self, base: str | None, limit: int) -> str:
        """Address of the first page. limit: the most facts that are wanted."""
        query = ""
        if self.is_paged:
            asked = {
                "sort": "downloads",
                "direction": "-1",
                "limit": str(min(limit, MODELS_A_PAGE)),
                "expand": list(hugging_face.FIELDS),
            }
            query = "?" + urlencode(asked, doseq=True)
        return (base or self.base).rstrip("/") + self.path + query


def _models(data: bytes) -> int:
    return len(hugging_face.read_page(data))


def _lines(data: bytes) -> int:
    return sum(1 for _ in read_table(io.BytesIO(data), epoch.COLUMNS).lines)


PLACES: Final = {
    "huggingface": Place(
        "Hugging Face, list of models by downloads",
        "https://huggingface.co",
        "/api/models",
        "unknown",
        frozenset(),
        _models,
        is_paged=True,
    ),
    "epoch": Place(
        "Epoch AI, Data on AI Models",
        "https://epoch.ai",
        "/data/all_ai_models.csv",
        "CC-BY-4.0",
        frozenset({"www.epoch.ai"}),
        _lines,
    ),
}


def next_page(headers: Mapping[str, str], url: str) -> str | None:
    """The address that a Link header names as next (RFC 8288), or None."""
    found = _NEXT.search(headers.get("link", "")[:MAX_LINK_CHARACTERS])
    return None if found is None else urljoin(url, found[1])
