"""What others published about open models, recomputed from a snapshot and set beside it.

Each figure in `published.toml` names a measure, what is asked of it and which line of it. Laws: nothing is fitted; a
figure that a snapshot cannot give is told with what it lacks, never passed over; one rule says how near each came.
"""

import functools
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Final, Literal

from archipel.observatory.measures.measure import Asked, CannotAsk, Measure
from archipel.observatory.measures.table import take
from archipel.observatory.snapshot import Snapshot

WITHIN: Final = 0.02
"""Of a published figure: what agrees."""
RULE: Final = (
    "agrees: within 2% of what was printed (or not below it, where it says at least); differs: further; "
    "cannot: this snapshot lacks the rows"
)
NOTHING: Final = Asked()
Verdict = Literal["agrees", "differs", "cannot"]


@dataclass(frozen=True)
class Published:
    """A figure that others printed."""

    name: str
    what: str
    value: float
    unit: str
    source: str
    url: str
    day: str
    """When it was printed."""
    hand: Literal["read", "second-hand"]
    measure: str
    asked: Asked = NOTHING
    line: str = ""
    """Part of the measure; empty: its figure."""
    relation: Literal["=", "at least"] = "="


@dataclass(frozen=True)
class Checked:
    """A published figure beside ours."""

    published: Published
    computed: float | None
    why: str
    """What ours says of itself, or lacks."""
    rows: tuple[str, ...]

    @property
    def apart(self) -> float | None:
        """(computed - published) / published."""
        return None if self.computed is None else self.computed / self.published.value - 1.0

    @property
    def verdict(self) -> Verdict:
        """By `RULE`."""
        if self.apart is None:
            return "cannot"
        is_enough = self.published.relation == "at least" and self.apart >= 0
        return "agrees" if is_enough or abs(self.apart) <= WITHIN else "differs"

    def data(self) -> dict[str, Any]:
        """For machines."""
        said = asdict(self.published) | {"asked": asdict(self.published.asked)}
        return {
            "published": said,
            "computed": "unknown" if self.computed is None else self.computed,
            "apart": "unknown" if self.apart is None else self.apart,
            "verdict": self.verdict,
            "why": self.why,
            "rows": list(self.rows),
        }


@functools.cache
def published() -> tuple[Published, ...]:
    """Every figure of `published.toml`."""
    text = resources.files("archipel.observatory").joinpath("published.toml").read_text("utf-8")
    return tuple(
        Published(**{**row, "value": float(row["value"]), "asked": Asked(**row.get("asked", {}))})
        for row in tomllib.loads(text)["figure"]
    )


def check(snapshot: Snapshot) -> tuple[Checked, ...]:
    """Every published figure, computed from this snapshot."""
    return tuple(_checked(snapshot, each) for each in published())


def summary(found: tuple[Checked, ...]) -> str:
    """How many of which verdict."""
    told = Counter(each.verdict for each in found)
    return ", ".join(f"{told[each]} {each}" for each in ("agrees", "differs", "cannot"))


def _checked(snapshot: Snapshot, figure: Published) -> Checked:
    try:
        measure = take(figure.measure, snapshot, figure.asked)
    except CannotAsk as error:
        return Checked(figure, None, f"lacks: {error}", ())
    if measure.value is None:
        return Checked(figure, None, f"lacks: {measure.says}", ())
    if not figure.line:
        return Checked(figure, measure.value, measure.says, measure.rows)
    return _of_line(figure, measure)


def _of_line(figure: Published, measure: Measure) -> Checked:
    line = measure.line(figure.line)
    if line is None or line.value is None:
        return Checked(figure, None, f"lacks: no {figure.line} in {measure.definition.id}", ())
    return Checked(figure, line.value, line.note, line.rows)
