"""What of an answer stands verbatim in a bundle's training data, where, and how rare that is.

Law: that a text stands there is shown; that the model has it from there is not.
"""

import heapq
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from archipel.release.trace.corpus import Document
from archipel.release.trace.kept_index import Kept
from archipel.release.trace.spans import Finder, Span, maximal_spans, merged, rarest
from archipel.release.trace.suffixes import END, Range
from archipel.release.trace.texts import PART
from archipel.release.trace.told import Untraceable

MAX_ANSWER_CHARACTERS = 65_536
MAX_PLACES = 10
"""Listed of one span."""
MAX_SORTED = 65_536
"""Places of one span of which the first are looked for."""
CONTEXT_BYTES = 60
"""Shown on each side of a place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span stands."""

    document: Document
    text: int
    """Which of the document's texts, from 0."""
    line: int
    """In that text, from 1."""
    offset: int
    """In that text, bytes of UTF-8."""
    before: str
    after: str

    @property
    def where(self) -> str:
        """In words."""
        at = self.document
        if at.groups:
            group, number = at.groups[self.text // at.each], self.text % at.each
            what = f"rollout {number} of group {group}, {at.name}"
            return what if at.kind == "rollout" else f"prompt of group {group}"
        return f"{at.name}, line {self.text + self.line}"

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kind": self.document.kind,
            "document": self.document.name,
            "where": self.where,
            "entry": self.document.entry,
            "text": self.text,
            "line": self.line,
            "offset": self.offset,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class Quotation:
    """A span with some of its places."""

    span: Span
    text: str
    places: tuple[Place, ...]

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "start": self.span.start,
            "end": self.span.end,
            "text": self.text,
            "bits": round(self.span.bits, 3),
            "num_places": self.span.num_places,
            "places": [each.to_dict() for each in self.places],
        }


@dataclass(frozen=True, slots=True)
class Traced:
    """An answer looked up."""

    answer: str
    least: int
    num_spans: int
    quotations: tuple[Quotation, ...]
    """The rarest first."""
    passages: tuple[Range, ...]
    """Parts of the answer that spans cover, in characters."""

    @property
    def covered(self) -> int:
        """Characters of the answer in some span."""
        return sum(end - start for start, end in self.passages)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "answer": self.answer,
            "characters": len(self.answer),
            "covered": self.covered,
            "least": self.least,
            "num_spans": self.num_spans,
            "passages": [list(each) for each in self.passages],
            "spans": [each.to_dict() for each in self.quotations],
        }


def traced(answer: str, held: Kept, least: int, most: int) -> Traced:
    """Spans of at least `least` characters, the rarest `most` of them with their places.

    Raises:
        Untraceable: the answer is too long or no text, or the index is not what was sorted.
    """
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise Untraceable(
            f"the answer has {len(answer)} characters; at most {MAX_ANSWER_CHARACTERS} are looked up at a time"
        )
    try:
        answer.encode()
    except UnicodeEncodeError:
        raise Untraceable("the answer is not UTF-8 text") from None
    spans = list(maximal_spans(answer, Finder(held.data, held.suffixes), least))
    found = tuple(
        Quotation(each, answer[each.start : each.end], _places(held, each, answer))
        for each in rarest(spans, most)
    )
    return Traced(answer, least, len(spans), found, tuple(merged(spans)))


def _places(held: Kept, span: Span, answer: str) -> tuple[Place, ...]:
    low, high = span.found
    first = heapq.nsmallest(MAX_PLACES, held.suffixes[low : min(high, low + MAX_SORTED)])
    text = answer[span.start : span.end].encode()
    return tuple(_place(held, at, text) for at in first)


def _place(held: Kept, at: int, text: bytes) -> Place:
    data, end = held.data, at + len(text)
    if data[at:end] != text:
        raise Untraceable("the index of the training data is not sorted; remove it and ask again")
    own = held.documents[bisect_right(held.documents, at, key=lambda each: each.start) - 1]
    start = max(own.start, data.rfind(END, own.start, at) + 1)
    left = max(start, data.rfind(PART, start, at) + 1, at - CONTEXT_BYTES)
    right = data[end : end + CONTEXT_BYTES].partition(END)[0].partition(PART)[0]
    return Place(
        document=own,
        text=data[own.start : at].count(END),
        line=data[start:at].count(b"\n") + 1,
        offset=at - start,
        before=data[left:at].decode(errors="ignore"),
        after=right.decode(errors="ignore"),
    )
