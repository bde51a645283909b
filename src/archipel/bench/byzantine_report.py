"""`bench byzantine` as a table and as JSON: loss ratios of every attack and defence, verdicts, backdoors."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archipel.bench.byzantine import Found, Row
from archipel.bench.byzantine_plan import MEAN, Plan
from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_if_any
from archipel.bench.pretrain_attacks import NONE

BROKE = 10.0
"""From this ratio on a cell is said to have broken."""


@dataclass(frozen=True)
class Line:
    """One attack and one defence over seeds."""

    attack: str
    defence: str
    ratio: MeanOfSeeds
    """Held-out loss over that of the clean mean with the same seed; infinite where one has none."""
    lost: MeanOfSeeds
    """Of what the clean mean learned (first weights' loss less its own), the share that was not learned."""
    implanted: float
    """Share of held-out windows in which the trigger brings the target, over seeds."""
    honest: dict[str, int]
    """What became of honest contributions, together."""
    liars: dict[str, int]
    alike: list[float]
    """Of two honest contributions, over seeds: the median's mean and the most."""
    alike_liars: list[float]
    """Of a liar's and the one it is most alike to: the least and the most."""


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """A line for each attack and defence, in the order of measuring."""
    clean = {row.seed: row.found.nats for row in rows if _of(row) == (NONE.name, MEAN.name)}
    places = list(dict.fromkeys(map(_of, rows)))
    return [_line([row for row in rows if _of(row) == place], clean) for place in places]


def _of(row: Row) -> tuple[str, str]:
    return row.cell.attack.name, row.cell.defence.name


def _line(mine: Sequence[Row], clean: dict[int, float | None]) -> Line:
    paired = [(row.found, of) for row in mine if (of := clean.get(row.seed)) is not None]
    found = [row.found for row in mine]
    alike = [each.alike for each in found if each.alike]
    liars = [each.alike_liars for each in found if each.alike_liars]
    return Line(
        *_of(mine[0]),
        ratio=_ratio([_nats(each) / of for each, of in paired]),
        lost=_ratio([(_nats(each) - of) / (each.start_nats - of) for each, of in paired]),
        implanted=math.fsum(each.implanted for each in found) / len(found),
        honest=_together([each.honest for each in found]),
        liars=_together([each.liars for each in found]),
        alike=[math.fsum(a[1] for a in alike) / len(alike), max(a[-1] for a in alike)] if alike else [],
        alike_liars=[min(a[0] for a in liars), max(a[-1] for a in liars)] if liars else [],
    )  # fmt: skip


def _nats(found: Found) -> float:
    return math.inf if found.nats is None else found.nats


def _ratio(values: Sequence[float]) -> MeanOfSeeds:
    if any(math.isinf(each) for each in values):
        return MeanOfSeeds(math.inf, math.nan, math.nan, len(values))
    return mean_if_any(values)


def _together(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return dict(sum((Counter(each) for each in counts), Counter[str]()))


def row_line(row: Row) -> str:
    """One cell that has ended, on a line."""
    found = row.found
    nats = "no finite loss" if found.nats is None else f"{found.nats:.4f} nats a byte"
    broke = f", broke: {found.broke:.80}" if found.broke else ""
    return (
        f"seed {row.seed}  {row.cell.attack.name:<21}x {row.cell.defence.name:<19}{found.start_nats:.3f} -> {nats}, "
        f"backdoor {found.implanted:.0%}{broke}, {found.processor_s:.0f} s of processor"
    )


def table(rows: Sequence[Row], plan: Plan) -> str:
    """For people."""
    if not rows:
        return NOTHING_YET
    lines = lines_of(rows)
    defences = list(dict.fromkeys(line.defence for line in lines))
    by = {(line.attack, line.defence): line for line in lines}
    budget = plan.budget
    out = [
        f"{budget.members} members, {plan.faulty} of them liars, {plan.merges} merges of {plan.every} inner steps of"
        f" {budget.batch} windows of {budget.sequence_length} bytes, {plan.codec}; held-out loss over that of the mean"
        " without liars (same seed)",
        f"{'attack':<22}" + "".join(f"{name:>20}" for name in defences),
    ]
    for attack in dict.fromkeys(line.attack for line in lines):
        cells = [_cell(by.get((attack, name))) for name in defences]
        out.append(f"{attack:<22}" + "".join(f"{each:>20}" for each in cells))
    out.append("mean +- half of the 95 percent interval over seeds")
    for line in lines:
        out.append(
            f"{line.attack:<22}{line.defence:<20} {_lost(line)}  backdoor {line.implanted:>4.0%}"
            f"  liars: {_counts(line.liars)}  honest: {_counts(line.honest)}{_alike(line)}"
        )
    return "\n".join(out)


def _cell(line: Line | None) -> str:
    if line is None or not line.ratio.num_seeds:
        return "-"
    if line.ratio.mean >= BROKE:
        return "broke" if math.isinf(line.ratio.mean) else f"{line.ratio.mean:.0f}x"
    half = line.ratio.half_width
    return f"{line.ratio.mean:.4f}" + ("" if math.isnan(half) else f" +-{half:.4f}")


def _lost(line: Line) -> str:
    known = math.isfinite(line.lost.mean)
    return f"not learned {line.lost.mean:>5.0%}" if known else f"{'':17}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts)) or "none"


def _alike(line: Line) -> str:
    if not line.alike or not line.alike_liars:
        return ""
    return f"  alike: honest {line.alike[1]:.3f} at most, liars {line.alike_liars[0]:.3f} to {line.alike_liars[1]:.3f}"


def to_json(rows: Sequence[Row], plan: Plan, text: str) -> dict[str, Any]:
    """Everything, for machines; what is infinite or not known is null."""
    return {
        "text": text,
        "plan": asdict(plan),
        "lines": [_plain(asdict(line)) for line in lines_of(rows)],
        "rows": [
            {"seed": row.seed, **row.cell.asked(), "found": asdict(row.found)} for row in rows
        ],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
