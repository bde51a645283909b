"""What a grading costs: `python -m tests.training.time_grading`, milliseconds each, in batches of 256."""

import time

from archipel.records.recipe import EnvironmentSection
from archipel.training.grading import Grader, Submission

BATCH, BATCHES = 256, 5
ENVIRONMENTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("secret_order", {}),
    ("reasoning_gym", {"task": "letter_counting"}),
    ("reasoning_gym", {"task": "countdown"}),
)


def milliseconds(name: str, parameters: dict[str, str]) -> list[float]:
    """Per grading, one figure for each batch."""
    section = EnvironmentSection(name=name, parameters=dict(parameters))
    shown = [Submission("train", number // 8, "12 + 3 * 4", True) for number in range(BATCH)]
    figures = []
    with Grader(section, 0, b"secret") as grader:
        for _ in range(BATCHES):
            start_s = time.perf_counter()
            grader.grade(shown)
            figures.append((time.perf_counter() - start_s) / BATCH * 1000)
    return figures


if __name__ == "__main__":
    for name, parameters in ENVIRONMENTS:
        figures = milliseconds(name, parameters)
        shown = ", ".join(f"{figure:.2f}" for figure in figures)
        print(f"{name} {parameters.get('task', '')}: {shown}")
