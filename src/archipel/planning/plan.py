"""A plan: one question answered, as quantities, tables, charts and remarks; nothing is computed yet.

`answer` (in `answering`) draws the samples and turns a plan into plain data, which every way of showing
it (text, JSON, picture, page) reads. Law: nothing here knows how it will be shown.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np

from archipel.planning.quantity import Numbers, Quantity
from archipel.planning.sampling import Draws

Cell = Quantity | str
"""A text, or a quantity shown with its interval."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns; the first column says what the row is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    about: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a chart, as lists or arrays; `low` and `high` make a band."""

    label: str
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()
    style: Literal["line", "dashed", "points"] = "line"


@dataclass(frozen=True)
class Lines:
    """Curves over one axis."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    mark_x: tuple[tuple[float, str], ...] = ()
    """Vertical lines: where something happens, and its name."""
    rows: tuple[str, ...] = ()
    """Names of the heights 1, 2, 3 ..., from above: points by name instead of by number."""


@dataclass(frozen=True)
class Bars:
    """Amounts side by side, all of one kind, each with its interval."""

    title: str
    parts: tuple[tuple[str, Quantity], ...]
    unit: str
    log: bool = False


Chart = Lines | Bars
Part = TypeVar("Part")


class Later(Generic[Part]):
    """A part of a plan, given as it is or as what makes it: made when it is first looked at, once."""

    def __set_name__(self, _: type, name: str) -> None:
        """Remember where the part stands."""
        self._name = f"_{name}"

    def __get__(self, of: Any, _: type | None = None) -> tuple[Part, ...]:
        """The part; nothing by default."""
        if of is None:
            return ()
        found = of.__dict__[self._name]
        if callable(found):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # as in worlds
                found = of.__dict__[self._name] = tuple(found())
        return cast("tuple[Part, ...]", found)

    def __set__(self, of: Any, value: Sequence[Part] | Callable[[], Iterable[Part]]) -> None:
        """Keep it as it came."""
        of.__dict__[self._name] = value


def _nothing(_: str) -> None:
    return None


@dataclass(frozen=True)
class Plan:
    """What a question's file returns."""

    question: str
    title: str
    """One sentence: what is planned, with the numbers that were asked for."""
    answers: tuple[Quantity, ...]
    """The headline, most important first; the first one gets the tornado."""
    tables: Later[Table] = Later()
    charts: Later[Chart] = Later()
    remarks: Later[str] = Later()
    """Caveats a reader must not miss; where sources disagree; what is not modelled."""
    verdict: str | Callable[[Draws | None], str] = ""
    """The sentences that answer the question, if any can; or what says them of sampled worlds."""
    request: dict[str, object] = field(default_factory=dict)
    """The question's options as asked, enough to ask again."""
    find: Callable[[str], Quantity | None] = _nothing
    """A quantity by its name without what else is shown, if the question can."""

    def said(self, draws: Draws | None = None) -> str:
        """The verdict; `draws` are used where they hold the worlds that sentences are decided in."""
        return self.verdict if isinstance(self.verdict, str) else self.verdict(draws)
