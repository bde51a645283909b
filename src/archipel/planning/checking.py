"""What others published, asked of this planner: the same words one would type, computed beside printed.

Each figure in `published/` names a request (`plan`), an answer among its quantities, the printed value and
how far apart the two may be. Law: a figure is asked as a stranger would ask it; nothing is fitted.
"""

import functools
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.mistakes import nearest
from archipel.planning.requests import REQUESTS, options_of
from archipel.planning.tables import bibliography
from archipel.planning.units import factor, unit
from archipel.planning.wording import amount_text, lined_up

CENTRE = Setting(samples=20)
"""Central values do not depend on the draws."""


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
    def agrees(self) -> bool:
        """Within the tolerance that was set before."""
        return abs(self.apart) <= self.tolerance


def figures() -> dict[str, dict[str, Any]]:
    """Every published figure that can be asked, by name."""
    found: dict[str, dict[str, Any]] = {}
    folder = resources.files("archipel.planning").joinpath("published")
    for path in sorted(folder.iterdir(), key=lambda file: file.name):
        if path.name.endswith(".toml"):
            rows = tomllib.loads(path.read_text("utf-8"))["figure"]
            found |= {row["name"]: row for row in rows}
    return found


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


def _value(found: dict[str, Any], name: str, units: str = "") -> float:
    row = found["quantities"][name]
    own = unit(row["unit"] or "1")
    return float(row["value"]) * (factor(own, unit(units)) if units else 1.0)


@functools.cache
def _asked(words: str) -> dict[str, Any]:
    """The answer to `train --params 70B --set NAME=AMOUNT ...`."""
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
    setting = Setting(samples=CENTRE.samples, as_of=as_of)
    return Ask(question, REQUESTS[question](**request), setting, overrides=tuple(overrides)).data()


def checked_text(found: Sequence[Checked]) -> str:
    """The comparison for a terminal, and how many agree."""
    rows = [
        (
            each.name,
            amount_text(each.published, each.unit),
            amount_text(each.computed, each.unit),
            f"{each.apart:+.1%}",
            f"±{each.tolerance:.1%}",
            "" if each.agrees else "DIFFERS",
        )
        for each in found
    ]
    lines = lined_up(("figure", "published", "computed", "apart", "allowed", ""), rows)
    agreeing = sum(each.agrees for each in found)
    apart = sorted(abs(each.apart) for each in found)
    middle = apart[len(apart) // 2]
    return "\n".join(
        [*lines, "", f"{agreeing} of {len(found)} agree; the median is {middle:.1%} apart"]
    )
