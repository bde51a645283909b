"""How papers say times, numbers, licences and what nobody knows. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from archipel.release.facts import Facts
from archipel.release.index import Kind, Released
from archipel.release.stated import Stated

UNKNOWN: Final = "Not known: neither the ledger nor the owner of the release says it."
ROWS_SHOWN = 50
"""Of a long table; the ledger has them all."""

_MARKS = re.compile(r"([\\`*_{}\[\]<>|#!~$])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def time_of(at_ms: int) -> str:
    """As RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_of(at_ms: int) -> str:
    """YYYY-MM-DD in UTC."""
    return time_of(at_ms)[:10]


def title_of(facts: Facts, stated: Stated) -> str:
    """The owner's, or the run's name; on one line."""
    return one_line(stated.title or facts.run)


def one_line(text: str) -> str:
    """Without control characters and line ends."""
    return _CONTROLS.sub(" ", text).strip()


def quoted(text: str) -> str:
    """Somebody's words in Markdown: on one line, and no mark of it means anything."""
    return _MARKS.sub(r"\\\1", one_line(text))


def said(text: str | None) -> str:
    """The owner's words as a paragraph, or that nobody knows."""
    return UNKNOWN if text is None else "\n\n".join(map(quoted, text.strip().split("\n\n")))


def number(value: float | None) -> str:
    """With spaces between thousands; a whole number without a point; `unknown` for None."""
    if value is None:
        return "unknown"
    whole = int(value)
    return f"{whole:,}".replace(",", " ") if whole == value else f"{value:.6g}"


def credits_of(micro: int) -> str:
    """Micro-credits as credits."""
    return f"{micro / 1_000_000:.6f} credits"


def licence_of(kind: Kind, stated: Stated, index: Released | None) -> str | None:
    """SPDX expression of a component of this kind: the index's, else the owner's word, else None."""
    listed = {each.licence for each in index.components if each.kind == kind} if index else set()
    if len(listed) == 1:
        return listed.pop()
    return stated.licences.get(kind, stated.licences.get("default"))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; cells as they are, so whoever has a stranger's words quotes them first."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_rows(rows: Sequence[Sequence[str]], heads: Sequence[str], what: str) -> str:
    """A table of at most ROWS_SHOWN rows, and how many more there are."""
    shown = table(heads, rows[:ROWS_SHOWN])
    more = len(rows) - ROWS_SHOWN
    return (
        f"{shown}\n\nand {number(more)} more {what}, which the ledger has." if more > 0 else shown
    )


def paper(parts: Iterable[str]) -> bytes:
    """Paragraphs with an empty line between them."""
    return ("\n\n".join(each.strip("\n") for each in parts) + "\n").encode()


def json_paper(value: Mapping[str, Any]) -> bytes:
    """The same value, the same bytes."""
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def yaml_value(value: str) -> str:
    """A text as YAML 1.2 takes it: quoted as JSON, of which YAML is a superset."""
    return json.dumps(one_line(value), ensure_ascii=True)


def hex_of(digest: str) -> str:
    """Without `sha256:`."""
    return digest.removeprefix("sha256:")
