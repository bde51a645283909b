"""What `bench cascade` found, for people, for machines and as a picture."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archipel.bench.cascade import Found


def table(found: Found) -> str:
    """Each alone, each way, and what the calibrated policy did."""
    gain = found.large - found.small
    lines = [
        f"small alone {found.small:.3f} in {found.small_s * 1e3:.1f} ms a question, large alone {found.large:.3f} in "
        f"{found.large_s * 1e3:.1f} ms; the gate takes {found.gate_s * 1e3:.1f} ms",
        *(
            [f"joules a question: {', '.join(f'{n} {v:.3f}' for n, v in found.joules.items())}"]
            if found.joules
            else []
        ),
        "",
        f"{'way':<18}{'APGR':>22} {'CPT(50%)':>22} {'CPT(80%)':>22}  seconds at CPT(80%), of the large model's",
    ]
    for worth in found.worths:
        seconds = "" if math.isnan(worth.seconds80) else f"{worth.seconds80:.2f}"
        lines.append(
            f"{worth.name:<18}{worth.apgr!s:>22} {worth.cpt50!s:>22} {worth.cpt80!s:>22}  {seconds}"
        )
    went = found.policy
    lines += [
        "",
        f"calibrated for part of the gain of {gain:.3f}, on questions that it never saw: {found.kept:.0%} kept, "
        f"{went.share:.0%} of questions to the large model ({went.straight:.0%} straight), "
        f"{went.seconds / found.large_s:.2f} of the large model's seconds; calibration error {found.error:.3f}",
        f"{'kind':<10}{'questions':>10}{'small':>8}{'large':>8}{'cascade':>9}{'to large':>10}{'APGR within':>13}",
        *(
            f"{each.kind:<10}{each.num:>10}{each.small:>8.3f}{each.large:>8.3f}{each.cascade:>9.3f}{each.share:>9.0%} {_within(each.apgr):>13}"
            for each in found.kinds
        ),
    ]
    return "\n".join(lines)


def _within(apgr: float) -> str:
    return "" if math.isnan(apgr) else f"{apgr:.2f}"


def to_json(found: Found) -> dict[str, Any]:
    """All of it; what is no number is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    told: dict[str, Any] = plain(asdict(found))
    return told


def draw(found: Found, path: Path) -> None:
    """Quality over the share of questions to the large model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for worth in found.worths:
        shares, quality = [each[0] for each in worth.points], [each[1] for each in worth.points]
        axes.plot(shares, quality, label=f"{worth.name} (APGR {worth.apgr.value:.2f})", lw=1.3)
    axes.set_xlabel("share of questions to the large model")
    axes.set_ylabel("share that is right")
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)
