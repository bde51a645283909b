"""What a calibration measures: how many answers of whom, and how sure the thresholds are to be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    dtypes: tuple[str, ...] = ("fp32", "bf16")
    slots: tuple[int, ...] = (1, 8, 64)
    threads: tuple[int, ...] = (1, 2)
    groups: int = 20
    """Honest answers of each (dtype, slots, threads), and answers of each cheat."""
    rollouts: int = 8
    """Of an answer."""
    max_new_tokens: int = 32
    temperature: float = 1.0
    confidence: float = 0.95
    headroom: float = 1.5
    """Thresholds are so many times what honest answers reach."""
    learning_rate: float = 1e-4
    """Of the step by which older weights differ, where none are given."""
    sequential: tuple[str, ...] = ()
    """Cheats that single audits need not catch."""
    seed: int = 1


QUICK = Plan(slots=(1, 64), threads=(1,), groups=8, max_new_tokens=24)
