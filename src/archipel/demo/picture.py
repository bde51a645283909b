"""The demo's curve as a PNG."""

from pathlib import Path

from archipel.records.documents import RunView

COLOURS = ("tab:red", "tab:green", "tab:purple")
"""Of events, in the order in which they happened."""


def draw_curve(run: RunView, events: dict[str, int], title: str, path: Path) -> None:
    """Reward per version, held-out accuracy with intervals, and who came and went.

    Args:
        run: the lab's view of the run.
        events: label -> version at which it happened.
        title: above the picture.
        path: where the PNG goes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=130)
    rewards = run.rewards
    axes.plot(
        range(1, len(rewards) + 1),
        rewards,
        color="tab:blue",
        linewidth=1.2,
        label="mean reward of the batch",
    )
    exams = run.evaluations
    at = [exam["version"] for exam in exams]
    value = [exam["greedy"] / 1e6 for exam in exams]
    below = [max(0.0, v - exam["greedy_low"] / 1e6) for v, exam in zip(value, exams, strict=True)]
    above = [max(0.0, exam["greedy_high"] / 1e6 - v) for v, exam in zip(value, exams, strict=True)]
    axes.errorbar(
        at,
        value,
        yerr=[below, above],
        fmt="o-",
        color="tab:orange",
        capsize=3,
        label="held-out (dev) greedy accuracy, 95%",
    )
    for number, (label, version) in enumerate(events.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.axvline(version, color=colour, linestyle="--", linewidth=1)
        axes.text(version, 0.03 + 0.07 * number, f" {label}", color=colour, fontsize=9)
    axes.set_xlabel("policy version")
    axes.set_ylim(-0.02, 1.04)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
