"""What others published, asked of this planner: the same words one would type, computed beside printed.

Each figure in `published/` names a request (`plan`), an answer among its quantities and the printed value.
Law: a figure is asked as a stranger would ask it, nothing is fitted, and how near it came is said by one rule
for all of them (`GRADES`). The `tolerance` of a row is not part of that rule: it was set once the figure had
been computed, and lets the tests notice when a later change moves it.
"""

import functools
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archipel.planning.answering import Setting, named
from archipel.planning.asking import Ask
from archipel.planning.compiled import folder
from archipel.planning.layout import lined_up, wrapped
from archipel.planning.mistakes import nearest
from archipel.planning.quantity import Quantity
from archipel.planning.requests import REQUESTS, options_of
from archipel.planning.sampling import Draws
from archipel.planning.tables import bibliography
from archipel.planning.units import factor, unit
from archipel.planning.wording import amount_text
from archipel.plurals import counted

INPUTS = 0.01
"""What rounding of the source's own inputs may add."""
LEAST_DIGITS = 2
"""Of a printed number whose zeros at the end may or may not have been meant."""
GRADES = (("near", 0.05), ("rough", 0.15))
"""How far apart, at most, after `as printed`; beyond the last it differs."""
RULE = (
    "as printed: within half of the last digit that the source prints, and 1% for its rounded inputs; "
    "near: within 5%; rough: within 15%. The rule is the same for every figure."
)


@dataclass(frozen=True)
class Checked:
    """One published figure beside ours."""

    name: str
    what: str
    plan: str
    published: float
    computed: float
    unit: str
    tolerance: float
    source: str
    note: str

    @property
    def apart(self) -> float:
        """(computed - published) / published."""
        return self.computed / self.published - 1.0

    @property
    def grade(self) -> str:
        """How near it came: `as printed`, one of `GRADES`, or `DIFFERS`."""
        if abs(self.apart) <= rounding(self.published) + INPUTS:
            return "as printed"
        return next((name for name, most in GRADES if abs(self.apart) <= most), "DIFFERS")

    @property
    def agrees(self) -> bool:
        """Whether it came near enough for a grade."""
        return self.grade != "DIFFERS"


def rounding(printed: float) -> float:
    """Half of the last digit of a printed number, as a share of it."""
    digits = len(f"{printed:.12e}".partition("e")[0].replace(".", "").lstrip("-").rstrip("0"))
    exponent = math.floor(math.log10(abs(printed)))
    last = 10.0 ** (exponent + 1 - max(digits, LEAST_DIGITS))
    return 0.5 * last / abs(printed)


@functools.cache
def figures() -> dict[str, dict[str, Any]]:
    """Every published figure that can be asked, by name."""
    return {row["name"]: row for file in folder("published").values() for row in file["figure"]}


def chosen(part: str) -> list[str]:
    """The names of the figures that contain `part`; all of them if it is empty.

    Raises:
        UnknownName: none does; names the nearest.
    """
    known = figures()
    names = [name for name in known if part in name or part in known[name]["plan"]]
    if not names:
        raise nearest(part, known, "published figure")
    return names


def check(name: str) -> Checked:
    """One figure, computed now."""
    row = figures()[name]
    return Checked(
        name=name,
        what=row["what"],
        plan=row["plan"],
        published=float(row["published"]),
        computed=_computed(row),
        unit="" if row["unit"] == "1" else row["unit"],
        tolerance=float(row["tolerance"]),
        source=bibliography()[row["source"]].title,
        note=row.get("note", ""),
    )


def _computed(row: dict[str, Any]) -> float:
    """`a`, `a + b`, `a / b`, or the same answer of two plans divided."""
    found, answer = _asked(row["plan"]), row["answer"]
    if " / " in answer:
        above, below = (_value(found, name) for name in answer.split(" / "))
        return above / below
    if "beside" in row:
        return _value(found, answer) / _value(_asked(row["beside"]), answer)
    return sum(_value(found, name, row["unit"]) for name in answer.split(" + "))


def _value(found: Mapping[str, Quantity], name: str, units: str = "") -> float:
    asked = found[name]
    scale = factor(asked.unit, unit(units)) if units else 1.0
    return Draws(count=1).centre(asked) * scale


@functools.lru_cache(maxsize=16)
def _asked(words: str) -> Mapping[str, Quantity]:
    """Every quantity of the plan for `train --params 70B --set NAME=AMOUNT ...`, by name."""
    question, *rest = shlex.split(words)
    request: dict[str, Any] = {each.name: each.default for each in options_of(REQUESTS[question])}
    overrides: list[str] = []
    as_of = ""
    typed = iter(rest)
    for option in typed:
        name = option.removeprefix("--").replace("-", "_")
        if isinstance(request.get(name), bool):
            request[name] = True
        elif name == "set":
            overrides.append(next(typed))
        elif name == "as_of":
            as_of = next(typed)
        else:
            request[name] = next(typed)
    asked = REQUESTS[question](**request)
    return named(Ask(question, asked, Setting(as_of=as_of), overrides=tuple(overrides)).plan())


def checked_text(found: Sequence[Checked], width: int | None = None) -> str:
    """The comparison for a terminal, and how many came how near. width: of a line."""
    rows = [
        (
            each.name,
            amount_text(each.published, each.unit),
            amount_text(each.computed, each.unit),
            f"{each.apart:+.1%}",
            each.grade,
        )
        for each in found
    ]
    graded = Counter(each.grade for each in found)
    grades = ("as printed", *(name for name, _ in GRADES), "DIFFERS")
    told = ", ".join(f"{graded[grade]} {grade.lower()}" for grade in grades if graded[grade])
    apart = sorted(abs(each.apart) for each in found)
    return "\n".join(
        [
            *wrapped(
                f"{counted(len(found), 'figure')}: {told}; the median is {apart[len(apart) // 2]:.1%} apart",
                width,
            ),
            *wrapped(RULE, width),
            "",
            *lined_up(("figure", "published", "computed", "apart", ""), rows, width),
        ]
    )
