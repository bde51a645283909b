"""Histories for the tests: healthy ones, and ones that go wrong in one way."""

from collections.abc import Callable

from archipel.curves.history import Exam, History, Point

START_S = 1_800_000_000.0


def healthy(version: int) -> dict[str, float]:
    """What a run that learns measures."""
    return {
        "groups": 32.0,
        "zero_advantage_groups": 3.0,
        "reward": min(0.3 + 0.02 * version, 0.8),
        "entropy": 1.2 - 0.01 * version,
        "mismatch_kl": 0.001,
        "effective_sample_fraction": 0.98,
        "held_back_fraction": 0.05,
        "grading_faults": 0.0,
        "finished_fraction": 0.9,
        "commonest_fraction": 0.1,
    }


def history(
    num_versions: int,
    changed: Callable[[int], dict[str, float]] = lambda version: {},
    exams: tuple[Exam, ...] = (),
    name: str = "run",
) -> History:
    """A run at version `num_versions`; `changed` gives what differs from a healthy one."""
    points = [Point(0, START_S, {"full_bytes": 4096.0})]
    points += [
        Point(version, START_S + 10.0 * version, healthy(version) | changed(version))
        for version in range(1, num_versions + 1)
    ]
    return History(name, 80, tuple(points), exams)


def exam(version: int, greedy: float, spread: float = 0.05) -> Exam:
    """An evaluation with its interval."""
    bounds = {"greedy_low": greedy - spread, "greedy_high": greedy + spread}
    return Exam(version, {"num_tasks": 256.0, "greedy": greedy, **bounds})
