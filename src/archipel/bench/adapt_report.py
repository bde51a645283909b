"""What `bench adapt` found: a line for each way, and numbers for machines.

Law: shares and ratios are formed with the central run of the same seed, and with nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archipel.bench.adapt import Row, Trial
from archipel.bench.adapt_plan import AdaptPlan
from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_if_any


@dataclass(frozen=True)
class Line:
    """One way, over seeds."""

    way: str
    kind: str
    rate: float
    before: float
    nats: MeanOfSeeds
    """Held-out loss a token."""
    ratio: MeanOfSeeds
    """To the central run's loss."""
    gain: MeanOfSeeds
    """Share of what the central run took off the loss."""
    up: int
    """Bytes of the member that sends most, in the whole run."""
    down: int
    fewer_up: float
    """Data parallel's bytes over these; infinite where nothing is sent, NaN without a central run."""
    tokens: int
    processor_s: float


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """In the order in which they were measured."""
    central = {row.seed: row for row in rows if row.way.kind == "central"}
    names = dict.fromkeys(row.way.name for row in rows)
    return [_line([row for row in rows if row.way.name == name], central) for name in names]


def _line(mine: Sequence[Row], central: dict[int, Row]) -> Line:
    row, found = mine[0], mine[0].found
    paired = [(each, central[each.seed]) for each in mine if each.seed in central]
    gains = [
        (each.before - each.found.nats) / (other.before - other.found.nats)
        for each, other in paired
        if other.before != other.found.nats
    ]
    up = max(found.up)
    fewer = math.nan if not paired else max(paired[0][1].found.up) / up if up else math.inf
    return Line(
        way=row.way.name,
        kind=row.way.kind,
        rate=row.rate,
        before=row.before,
        nats=mean_if_any([each.found.nats for each in mine]),
        ratio=mean_if_any([each.found.nats / other.found.nats for each, other in paired]),
        gain=mean_if_any(gains),
        up=up,
        down=max(found.down),
        fewer_up=fewer,
        tokens=found.tokens,
        processor_s=sum(each.found.processor_s for each in mine) / len(mine),
    )


def trial_line(trial: Trial) -> str:
    """One rate that was tried, on a line."""
    return f"{trial.kind}, rate {trial.rate:g}: {trial.nats:.4f} nats a token on the text of trials"


def row_line(row: Row) -> str:
    """One way that has ended, on a line."""
    found = row.found
    return (
        f"seed {row.seed}, {row.way.name}, rate {row.rate:g}: {row.before:.4f} -> {found.nats:.4f} nats a token, "
        f"{max(found.up) / 1e6:.1f} MB up, {max(found.down) / 1e6:.1f} MB down, {found.processor_s:.0f} s of processor"
    )


def table(rows: Sequence[Row], plan: AdaptPlan) -> str:
    """For people."""
    if not rows:
        return NOTHING_YET
    out = [
        f"{plan.members} members, {plan.versions} outer steps of {plan.every} inner steps of {plan.batch} x "
        f"{plan.sequence_length} tokens each; before: {rows[0].before:.4f} nats a token",
        f"{'way':<22}{'rate':>9}{'tokens':>9}{'nats a token':>26}{'/ central':>11}{'of its gain':>13}"
        f"{'MB up':>10}{'fewer up':>10}{'MB down':>10}",
    ]
    for line in lines_of(rows):
        out.append(
            f"{line.way:<22}{line.rate:>9g}{line.tokens:>9,}{line.nats!s:>26}{_number(line.ratio, '.4f'):>11}"
            f"{_number(line.gain, '.0%'):>13}{line.up / 1e6:>10,.1f}{_times(line.fewer_up):>10}{line.down / 1e6:>10,.1f}"
        )
    out.append(
        "up, down: bytes of a member in the whole run; central: those of synchronous data parallel of as many members; "
        "intervals: 95 percent over seeds"
    )
    return "\n".join(out)


def _number(value: MeanOfSeeds, form: str) -> str:
    return format(value.mean, form) if value.num_seeds else "-"


def _times(value: float) -> str:
    return f"{value:,.0f}x" if math.isfinite(value) else "-"


def to_json(rows: Sequence[Row], trials: Sequence[Trial], plan: AdaptPlan) -> dict[str, Any]:
    """Everything, for machines; what is infinite or not known is null."""
    found: dict[str, Any] = _plain(
        {
            "plan": asdict(plan),
            "lines": [asdict(line) for line in lines_of(rows)],
            "trials": [asdict(trial) for trial in trials],
            "rows": [asdict(row) for row in rows],
        }
    )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
