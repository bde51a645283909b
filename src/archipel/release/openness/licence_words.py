"""Does a licence's text say what its name promises? Compared by the words, against a sketch of each open licence.

Source: Broder, "On the resemblance and containment of documents" (1997): of all runs of five words of a text, the
smallest hashes stand for it. `licence_texts.txt` holds them for the open licences of the SPDX License List 3.29
(spdx-license-list 6.12 on npm) and OpenMDW 1.1 (openmdw.ai).
Laws: pure but for that table; the text is never shown to a model or believed by its title. A text recognised here can
still differ in words between the samples: `is_whole` says whether all words are the licence's.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MAX_TEXT_BYTES = 1024 * 1024
SHINGLE_WORDS = 5
SKETCH = 32
"""Hashes kept of each licence."""
LIKE = 0.75
"""Share of a licence's hashes that a text must have to be taken for it: of the 728 texts of SPDX each of the open ones is
recognised, and of the others those that are left stand in the tests."""
NARROWING = (
    *("non commercial", "noncommercial", "noderivatives", "no derivatives", "no derivative works"),
    *("not for commercial", "commercial use is", "commercial purposes is", "non production"),
    *("research purposes only", "research use only", "academic use only", "academic purposes only"),
    *("evaluation purposes only", "educational purposes only", "personal use only"),
    *("for personal use", "acceptable use", "prohibited use", "use restrictions"),
    *("monthly active users", "may not be used for", "used for good not evil", "military use"),
    *("not designed licensed or intended for use",),
)
"""Words that take back what an open licence gives; where they stand in the licence itself, its row says so."""
_COPYRIGHT = re.compile(r"^\W*(copyright\b.{0,200}|all rights reserved\W*)$", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")
_TITLE_WORDS = 6
"""Lines at the beginning with fewer are titles, which everybody writes in their own way."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the table knows of one text, or of one that several ids share."""

    ids: tuple[str, ...]
    whole: frozenset[str]
    """Of all its words but titles and the lines about copyright, in the ways that it is handed out: the first 16
    digits of their SHA-256."""
    narrowing: frozenset[str]
    """NARROWING words that the licence itself has."""
    words: int
    sketch: frozenset[str]


@dataclass(frozen=True, slots=True)
class Said:
    """What a text was found to be."""

    ids: tuple[str, ...]
    """SPDX ids, most alike first; () where no open licence is recognised."""
    is_whole: bool
    """Every word is the first one's."""
    narrowed: str | None
    """Words found that take back what the licence gives."""
    words: int


def recognise(text: str) -> Said:
    """Which open licences a text is, by its words."""
    words = words_of(text)
    mine = hashes(words)
    whole = whole_digest(words)
    rows = [row for row in table() if len(row.sketch & mine) >= LIKE * len(row.sketch)]
    rows.sort(key=lambda row: (whole not in row.whole, -_likeness(row, mine, len(words)), row.ids))
    own = rows[0].narrowing if rows else frozenset()
    return Said(
        ids=tuple(each for row in rows for each in row.ids),
        is_whole=bool(rows) and whole in rows[0].whole,
        narrowed=next((each for each in narrowing_in(words) if each not in own), None),
        words=len(words),
    )


def _likeness(row: Row, mine: frozenset[str], words: int) -> float:
    """Orders rows that a text is like: a short licence inside a longer one's text is not it."""
    longer, shorter = max(row.words, words), min(row.words, words)
    return float((len(row.sketch & mine) / len(row.sketch)) ** 3 * (shorter / longer) ** 0.5)


def words_of(text: str) -> list[str]:
    """In small letters, without titles and the lines that say whose the copyright is."""
    lines = [line for line in text.lower().splitlines() if not _COPYRIGHT.match(line.strip())]
    told = [_WORD.findall(line) for line in lines]
    first = next((at for at, words in enumerate(told) if len(words) >= _TITLE_WORDS), 0)
    return [word for words in told[first:] for word in words]


def hashes(words: list[str]) -> frozenset[str]:
    """Of every run of SHINGLE_WORDS words: 8 hexadecimal digits each."""
    runs = {
        " ".join(words[start : start + SHINGLE_WORDS])
        for start in range(len(words) - SHINGLE_WORDS + 1)
    }
    return frozenset(hashlib.sha256(each.encode()).hexdigest()[:8] for each in runs)


def whole_digest(words: list[str]) -> str:
    """16 hexadecimal digits that stand for all words in their order."""
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def narrowing_in(words: list[str]) -> list[str]:
    """Which of NARROWING stand there."""
    flat = f" {' '.join(words)} "
    return [each for each in NARROWING if f" {each} " in flat]


def row_of(ids: tuple[str, ...], text: str, *others: str) -> str:
    """The line of the table for a licence's text. others: the same, as it is handed out elsewhere."""
    words = words_of(text)
    whole = ",".join(dict.fromkeys(whole_digest(words_of(each)) for each in (text, *others)))
    sketch = ",".join(sorted(hashes(words))[:SKETCH])
    narrowing = ",".join(each.replace(" ", "-") for each in narrowing_in(words)) or "-"
    return f"{','.join(ids)} {whole} {narrowing} {len(words)} {sketch}"


@cache
def table() -> tuple[Row, ...]:
    """All rows of `licence_texts.txt`."""
    text = files("archipel.release.openness").joinpath("licence_texts.txt").read_text("ascii")
    rows = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            ids, whole, narrowing, length, sketch = line.split(" ")
            held = frozenset(each.replace("-", " ") for each in narrowing.split(",") if each != "-")
            hashed = frozenset(sketch.split(","))
            handed = frozenset(whole.split(","))
            rows.append(Row(tuple(ids.split(",")), handed, held, int(length), hashed))
    return tuple(rows)
