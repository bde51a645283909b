"""What a page is made of. The same value is rendered as HTML and told as JSON.

Law: every text in here may come from a stranger and is text; every link was made by `paths`.
"""

from dataclasses import dataclass, field
from typing import Literal

Number = float | int | None
Tone = Literal["plain", "good", "warn", "bad", "quiet"]


@dataclass(frozen=True, slots=True)
class Link:
    """To another page."""

    text: str
    to: str
    """A path of this lab, made by `paths`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number or word that matters."""

    name: str
    """What machines call it; the unit is in it."""
    label: str
    text: str
    """For people."""
    value: Number | str | tuple[float, ...] = None
    """For machines; None: not known."""
    note: str = ""
    entries: tuple[int, ...] = ()
    """Of the ledger, which prove it."""
    tone: Tone = "plain"
    to: str = ""
    """Where more of it is told."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a table."""

    text: str
    value: Number | str = None
    """For machines, where the text is not it."""
    to: str = ""
    tone: Tone = "plain"
    title: str = ""
    """The whole of what was shortened."""
    share: float | None = None
    """In [0, 1]: drawn as a bar beside the text."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    name: str
    is_number: bool = False
    order: str = ""
    """A word by which the list may be sorted."""


@dataclass(frozen=True, slots=True)
class Pager:
    """Where a long list goes on."""

    first: int
    last: int
    back: str = ""
    on: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = "None."
    note: str = ""
    pager: Pager | None = None
    order: str = ""
    """The word that it is sorted by."""
    path: str = ""
    """Of the page, for links that sort it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart: a value for each x, None where there is none."""

    name: str
    values: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    """An interval around them; none: there is no band."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over a common axis, with the entries that each point comes from."""

    id: str
    title: str
    unit: str
    x: str
    """What the axis is: `version`, or `time` in milliseconds."""
    xs: tuple[float, ...]
    lines: tuple[Line, ...]
    entries: tuple[int, ...] = ()
    """Of the ledger, one a point; empty: the lines say more than one each."""
    note: str = ""
    kind: Literal["line", "bars", "steps"] = "line"
    is_log: bool = False
    """Drawn on a logarithmic scale: its lines differ by orders of magnitude."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence that should be seen."""

    text: str
    tone: Tone = "plain"
    entries: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under its own heading."""

    id: str
    title: str
    words: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    figures: tuple[Figure, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[str, ...] = ()
    """Shown as it is, each in a block of its own."""
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """All that one address tells at one moment."""

    title: str
    path: str
    room: str
    """Which part of the site it belongs to: the word of its navigation."""
    size: int
    """Entries of the ledger that it follows from."""
    lead: str = ""
    crumbs: tuple[Link, ...] = ()
    figures: tuple[Figure, ...] = ()
    notices: tuple[Notice, ...] = ()
    sections: tuple[Section, ...] = ()
    told_to: int = 0
    """Entries that its series are made from; below `size`: the chronicle is behind."""
    has_series: bool = field(default=False)
    """Whether anything on it comes from the chronicle."""
