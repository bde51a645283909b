"""Which parts of an answer stand verbatim in a text, as long as they can be, and how rare they are. Pure.

Law: a span stands in the text as it is, and neither of its neighbours in the answer could be added. Lengths and places in
the answer are characters; the text is UTF-8, whose characters begin where no other character has a byte.
After OLMoTrace (Liu et al. 2025, arXiv 2504.07096), which ranks spans by the unigram probability of their tokens; here a
word's probability is how often it stands in the text.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from archipel.release.trace.suffixes import Range, found_at

Stands = Callable[[int, int], bool]
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an answer that stands in the text."""

    start: int
    end: int
    found: Range
    """In the suffix array: one for each place."""
    bits: float
    """Rarity: minus log2 of the product of its words' frequencies."""

    @property
    def num_places(self) -> int:
        """Where it stands."""
        return self.found[1] - self.found[0]


@dataclass(slots=True)
class Finder:
    """Looks texts up."""

    data: bytes
    suffixes: Sequence[int]
    _counts: dict[str, int] = field(default_factory=dict)

    def find(self, text: bytes) -> Range:
        """Where it stands, in the suffix array."""
        return found_at(self.data, self.suffixes, text)

    def bits(self, text: str) -> float:
        """Of a text that stands there, so each of its words does."""
        return sum(-math.log2(self._count(word) / len(self.data)) for word in _WORD.findall(text))

    def _count(self, word: str) -> int:
        if word not in self._counts:
            low, high = self.find(word.encode())
            self._counts[word] = high - low
        return self._counts[word]


def maximal_spans(answer: str, finder: Finder, least: int) -> Iterator[Span]:
    """All of at least `least` characters, in the order of the answer.

    A part of what stands there stands there too, so the earliest start of an end, and then the latest end of that start, are
    found by halving.
    """
    if least < 1:
        raise ValueError(f"spans of {least} characters were asked for; at least 1")
    coded = answer.encode()
    at = [0, *accumulate(len(each.encode()) for each in answer)]

    def stands(start: int, end: int) -> bool:
        low, high = finder.find(coded[at[start] : at[end]])
        return high > low

    begin, end = 0, least
    while end <= len(answer):
        if not stands(end - least, end):
            end += 1
            continue
        low, high = begin, end - least
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if stands(middle, end) else (middle + 1, high)
        start = low
        end = _latest(start, end, len(answer), stands)
        found = finder.find(coded[at[start] : at[end]])
        yield Span(start, end, found, finder.bits(answer[start:end]))
        begin, end = start + 1, end + 1


def _latest(start: int, end: int, most: int, stands: Stands) -> int:
    """The latest end with which a text that begins at `start` stands there; with `end` it does."""
    step = 1
    while end + step <= most and stands(start, end + step):
        end, step = end + step, 2 * step
    low, high = end, min(most, end + step - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if stands(start, middle) else (low, middle - 1)
    return low


def merged(spans: Iterable[Span]) -> list[Range]:
    """Parts of the answer that spans cover, those that overlap as one."""
    covered: list[Range] = []
    for each in sorted(spans, key=lambda span: (span.start, span.end)):
        if covered and each.start < covered[-1][1]:
            covered[-1] = covered[-1][0], max(covered[-1][1], each.end)
        else:
            covered.append((each.start, each.end))
    return covered


def rarest(spans: Iterable[Span], most: int) -> list[Span]:
    """At most so many, the rarest first."""
    return sorted(spans, key=lambda span: (-span.bits, span.start))[:most]
