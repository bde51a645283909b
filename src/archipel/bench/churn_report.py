"""What `bench churn` found, for people, for machines and as a picture: disturbed arms beside the one left alone.

Law: ratios are of arms of the same seed, and of one pass of the command.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipel.bench.churn import Arm
from archipel.bench.churn_outcome import Outcome
from archipel.bench.churn_plan import UNDISTURBED
from archipel.bench.intervals import NOTHING_YET, MeanOfSeeds, mean_if_any, mean_of_seeds


@dataclass(frozen=True)
class Line:
    """One arm over its seeds."""

    arm: str
    loss: MeanOfSeeds
    """Held out, nats per token, of the last version."""
    loss_ratio: MeanOfSeeds
    """To the undisturbed arm's."""
    per_s: MeanOfSeeds
    """Tokens merged a second."""
    per_s_ratio: MeanOfSeeds
    merged_ratio: MeanOfSeeds
    """Tokens merged in as many versions, to the undisturbed arm's."""
    kept: MeanOfSeeds
    """Share of the tokens trained that were merged."""
    there: MeanOfSeeds
    """Share of the members' time in which they were there."""


def lines_of(arms: Sequence[Arm]) -> list[Line]:
    """In the order in which they came."""
    beside = {each.seed: each.outcome for each in arms if each.arm == UNDISTURBED}
    return [
        _line(name, [each for each in arms if each.arm == name], beside)
        for name in dict.fromkeys(each.arm for each in arms)
    ]


def _line(name: str, mine: Sequence[Arm], beside: dict[int, Outcome]) -> Line:
    def mean(value: Callable[[Outcome], float]) -> MeanOfSeeds:
        return mean_of_seeds([value(each.outcome) for each in mine])

    def ratio(value: Callable[[Outcome], float]) -> MeanOfSeeds:
        pairs = [(each.outcome, beside[each.seed]) for each in mine if each.seed in beside]
        return mean_if_any([value(ours) / value(theirs) for ours, theirs in pairs])

    return Line(
        arm=name,
        loss=mean(lambda found: found.loss),
        loss_ratio=ratio(lambda found: found.loss),
        per_s=mean(lambda found: found.per_s),
        per_s_ratio=ratio(lambda found: found.per_s),
        merged_ratio=ratio(lambda found: found.merged),
        kept=mean(lambda found: found.kept),
        there=mean(lambda found: found.there),
    )


def arm_line(arm: Arm) -> str:
    """One run that has ended, on a line."""
    found = arm.outcome
    befell = ", ".join(f"{count} {what}" for what, count in sorted(arm.happened.items()))
    again = "all merges come out equal again"
    if not arm.replayed.is_equal:
        again = f"MADE AGAIN, {arm.replayed.unequal} STAGES ARE UNEQUAL; {'; '.join(arm.replayed.faults)}"
    return (
        f"seed {arm.seed} {arm.arm}: loss {found.losses[0]:.3f} -> {found.loss:.3f}, {found.merged:,} tokens merged in "
        f"{found.seconds:.0f} s, {found.kept:.0%} of those trained; members there {found.there:.0%} of the time, "
        f"{befell or 'nobody disturbed'}; merged by version {' '.join(map(str, found.contributions))}, {found.late} late, "
        f"{found.void} void; {again}"
    )


def table(arms: Sequence[Arm]) -> str:
    """For people."""
    if not arms:
        return NOTHING_YET
    rows = [
        f"{'late':<13}{'held-out loss':>24}{'/ undisturbed':>24}{'tokens/s':>22}{'/ undisturbed':>24}"
        f"{'tokens':>8}{'merged':>8}{'there':>7}"
    ]
    for each in lines_of(arms):
        rows.append(
            f"{each.arm:<13}{each.loss!s:>24}{each.loss_ratio!s:>24}{_rate(each.per_s):>22}{each.per_s_ratio!s:>24}"
            f"{each.merged_ratio.mean:>8.2f}{each.kept.mean:>8.1%}{each.there.mean:>7.0%}"
        )
    rows.append(
        "tokens/s: merged a second; tokens: merged in as many versions, to undisturbed; merged: share of the tokens trained; "
        "there: share of the members' time; intervals: 95 percent over seeds"
    )
    rows += [arm_line(each) for each in arms]
    return "\n".join(rows)


def _rate(value: MeanOfSeeds) -> str:
    if value.num_seeds < 2:
        return f"{value.mean:,.0f}"
    return f"{value.mean:,.0f} [{value.low:,.0f}, {value.high:,.0f}]"


def to_json(arms: Sequence[Arm]) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "arms": [
            asdict(each)
            | {"tokens_per_s": each.outcome.per_s, "kept": each.outcome.kept}
            | {"equal": each.replayed.is_equal}
            for each in arms
        ]
    }


def unequal(arms: Sequence[Arm]) -> list[str]:
    """Arms whose merges did not come out again as they were published."""
    return [f"{each.arm} of seed {each.seed}" for each in arms if not each.replayed.is_equal]


def draw(arms: Sequence[Arm], path: Path) -> None:
    """Held-out loss over seconds, a line an arm and seed.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    colours = {name: f"C{n}" for n, name in enumerate(dict.fromkeys(each.arm for each in arms))}
    labelled: set[str] = set()
    for each in arms:
        found = each.outcome
        versions = sorted(found.losses)
        axis.plot(
            [found.moments[version] for version in versions],
            [found.losses[version] for version in versions],
            marker="o",
            color=colours[each.arm],
            label=None if each.arm in labelled else each.arm,
        )
        labelled.add(each.arm)
    axis.set(xlabel="seconds after version 0", ylabel="held-out loss, nats per token")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=130)
