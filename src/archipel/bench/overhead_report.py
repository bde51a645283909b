"""What `overhead` measured, for people and for machines: every figure an update, with its interval."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_if_any, mean_of_seeds
from archipel.bench.overhead import CENTRAL, DISTRIBUTED, Arm

NOT_SHOWN = (
    "not shown: wall-clock, real networks, more nodes than these; the parts are of one machine's "
    "processes, and other work on the machine makes each of them dearer"
)


@dataclass(frozen=True)
class Summary:
    """Over all seeds."""

    central_ms: MeanOfSeeds
    distributed_ms: MeanOfSeeds
    ratio: MeanOfSeeds
    """Distributed over central processor time, paired by seed."""
    parts_ms: Mapping[str, MeanOfSeeds]
    requests: MeanOfSeeds
    routes: Mapping[str, MeanOfSeeds]
    """`METHOD route` -> requests an update."""
    kilobytes: MeanOfSeeds
    equal_weights: int | None
    """Seeds whose final weights are equal in both arms; None when they were not compared."""


def summarise(arms: Sequence[Arm]) -> Summary:
    """Ratios paired by seed; parts and routes that a seed lacks count as nothing there. What was stopped may lack arms."""
    central = {arm.seed: arm for arm in arms if arm.arm == CENTRAL}
    mine = [arm for arm in arms if arm.arm == DISTRIBUTED]
    parts = dict.fromkeys(part for arm in mine for part in arm.cpu_s)
    routes = sorted({place for arm in mine for place in arm.requests})
    both = [arm for arm in mine if arm.seed in central]
    compared = [arm.weights == central[arm.seed].weights for arm in both if arm.weights]
    return Summary(
        central_ms=mean_if_any([arm.ms_per_update for arm in central.values()]),
        distributed_ms=mean_if_any([arm.ms_per_update for arm in mine]),
        ratio=mean_if_any([arm.ms_per_update / central[arm.seed].ms_per_update for arm in both]),
        parts_ms={
            part: mean_of_seeds([arm.cpu_s.get(part, 0.0) * 1000 / arm.updates for arm in mine])
            for part in parts
        },
        requests=mean_if_any([arm.requests_per_update for arm in mine]),
        routes={
            place: mean_of_seeds([arm.requests.get(place, 0.0) / arm.updates for arm in mine])
            for place in routes
        },
        kilobytes=mean_if_any([arm.bytes / 1000 / arm.updates for arm in mine]),
        equal_weights=sum(compared) if compared else None,
    )


def table(arms: Sequence[Arm]) -> str:
    """For people."""
    if not arms:
        return NOTHING_YET
    summary = summarise(arms)
    updates = [arm.updates for arm in arms]
    lines = [
        f"processor milliseconds, requests and kilobytes an update; {min(updates)} to {max(updates)} "
        f"updates, {summary.ratio.num_seeds} seeds, 95 percent intervals over seeds",
        f"central      {summary.central_ms}",
        f"distributed  {summary.distributed_ms}",
        f"ratio        {summary.ratio}",
        *(f"  {part:<16} {value}" for part, value in summary.parts_ms.items()),
        f"requests     {summary.requests}",
        *(f"  {route:<32} {value}" for route, value in summary.routes.items()),
        f"kilobytes    {summary.kilobytes}",
    ]
    if summary.equal_weights is not None:
        lines.append(f"equal final weights in {summary.equal_weights} of {summary.ratio.num_seeds}")
    loads = [arm.load for arm in arms]
    lines.append(f"load of the machine before each arm: {min(loads):.1f} to {max(loads):.1f}")
    lines.append(NOT_SHOWN)
    return "\n".join(lines)


def to_json(arms: Sequence[Arm]) -> dict[str, Any]:
    """For machines."""
    shown = [asdict(arm) for arm in arms]
    return {"summary": asdict(summarise(arms)), "arms": shown, "not_shown": NOT_SHOWN}


def save(arms: Sequence[Arm], path: Path) -> None:
    """Write the JSON."""
    path.write_text(json.dumps(to_json(arms), indent=2))
