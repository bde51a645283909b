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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archipel.planning.answering import Setting, named, quantity, second_hand
from archipel.planning.asking import Ask
from archipel.planning.compiled import folder
from archipel.planning.layout import lined_up, wrapped
from archipel.planning.mistakes import nearest
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity
from archipel.planning.requests import REQUESTS, options_of
from archipel.planning.sampling import ROUNDING, Draws
from archipel.planning.tables import bibliography
from archipel.planning.wording import amount_text, range_text
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
    low: float
    high: float
    """The ends of our 90% interval."""
    unit: str
    tolerance: float
    source: str
    read: str
    """How its source was read, as `Source.read` says."""
    note: str
    second_hand: tuple[str, ...]
    """Inputs of ours that were not read at their source."""

    @property
    def held(self) -> bool | None:
        """Whether our interval holds what was printed, its rounding included; None if we give none."""
        if self.high - self.low <= ROUNDING * abs(self.computed):
            return None
        slack = rounding(self.published) * abs(self.published)
        return self.low - slack <= self.published <= self.high + slack

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
    asked = _computed(row)
    found, source = Draws().estimate(asked), bibliography()[row["source"]]
    return Checked(
        name=name,
        what=row["what"],
        plan=row["plan"],
        published=float(row["published"]),
        computed=found.value,
        low=found.low,
        high=found.high,
        unit="" if row["unit"] == "1" else row["unit"],
        tolerance=float(row["tolerance"]),
        source=source.title,
        read=source.read,
        note=row.get("note", ""),
        second_hand=tuple(each["name"] for each in second_hand([asked])),
    )


def _computed(row: dict[str, Any]) -> Quantity:
    """`a`, `a + b`, `a / b`, or the same answer of two plans divided."""
    plan, answer = _planned(row["plan"]), row["answer"]
    if " / " in answer:
        above, below = (_one(plan, name) for name in answer.split(" / "))
        return above / below
    if "beside" in row:
        return _one(plan, answer) / _one(_planned(row["beside"]), answer)
    first, *others = (_one(plan, name).to(row["unit"]) for name in answer.split(" + "))
    return sum(others, first)


def _one(plan: Plan, name: str) -> Quantity:
    found = quantity(plan, name)
    if found is None:
        raise nearest(name, named(plan), "quantity of a published figure")
    return found


@functools.lru_cache(maxsize=16)
def _planned(words: str) -> Plan:
    """The plan for `train --params 70B --set NAME=AMOUNT ...`."""
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
    return Ask(question, asked, Setting(as_of=as_of), overrides=tuple(overrides)).plan()


def covered(found: Sequence[Checked]) -> dict[str, tuple[int, int]]:
    """How many printed figures our intervals hold, of how many, for each question."""
    counts: dict[str, tuple[int, int]] = {}
    for each in found:
        if each.held is not None:
            question = each.plan.split()[0]
            held, all_ = counts.get(question, (0, 0))
            counts[question] = (held + each.held, all_ + 1)
    return counts


def _coverage(found: Sequence[Checked]) -> list[str]:
    counts = covered(found)
    if not counts:
        return []
    held, all_ = (sum(each[place] for each in counts.values()) for place in (0, 1))
    parts = ", ".join(f"{question} {some} of {of}" for question, (some, of) in counts.items())
    return [f"90% intervals hold {held} of {counted(all_, 'figure')} ({held / all_:.0%}): {parts}."]


def _second_hand(found: Sequence[Checked]) -> list[str]:
    """What was not read at its source, ours and theirs."""
    printed = sum(each.read != "primary" for each in found)
    ours = sum(bool(each.second_hand) for each in found)
    return [
        f"{printed} of the printed figures were read second-hand or from memory, marked *; "
        f"{ours} of ours rest on such inputs (--json names them)."
    ]


def checked_text(found: Sequence[Checked], width: int | None = None) -> str:
    """The comparison for a terminal, and how many came how near. width: of a line."""
    rows = [
        (
            each.name + ("" if each.read == "primary" else " *"),
            amount_text(each.published, each.unit),
            range_text(
                {"value": each.computed, "low": each.low, "high": each.high, "unit": each.unit}
            ),
            f"{each.apart:+.1%}",
            each.grade,
            {True: "held", False: "outside", None: ""}[each.held],
        )
        for each in found
    ]
    graded = Counter(each.grade for each in found)
    grades = ("as printed", *(name for name, _ in GRADES), "DIFFERS")
    told = ", ".join(f"{graded[grade]} {grade.lower()}" for grade in grades if graded[grade])
    apart = sorted(abs(each.apart) for each in found)
    median = f"the median is {apart[len(apart) // 2]:.1%} apart"
    said = [f"{counted(len(found), 'figure')}: {told}; {median}", *_coverage(found), RULE]
    lines = [line for text in [*said, *_second_hand(found)] for line in wrapped(text, width)]
    heads = ("figure", "published", "computed", "apart", "", "interval")
    return "\n".join([*lines, "", *lined_up(heads, rows, width)])
