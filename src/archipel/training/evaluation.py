"""How good a policy version is on held-out tasks: pass@1, pass@k, and how sure we are.

Parts: `pass_at_k`, `wilson_interval`, `bootstrap_interval`, `Evaluation`, `score`.
Law: an evaluation belongs to one policy version and one list of tasks; samples of one task are
never treated as independent evidence (intervals resample whole tasks).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from archipel.training.environments.environment import Environment, Task

EXACT = 1.0 - 1e-9
"""A reward from here up is a right answer."""

Z_95 = 1.959963984540054
"""Two-sided 95 percent of the normal distribution."""

NUM_RESAMPLES = 2000
MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """A value with its two-sided 95 percent interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """One policy version on one list of tasks."""

    version: int
    split: str
    num_tasks: int
    greedy: Estimate
    """Share of tasks whose greedy completion is right (Wilson interval)."""
    greedy_reward: float
    """Mean reward of the greedy completions, partial credit included."""
    num_samples: int
    """Sampled completions per task; 0 when only greedy ones were graded."""
    pass_at: dict[int, Estimate]
    """k -> unbiased pass@k of the sampled completions (bootstrap over tasks)."""
    answers: Mapping[str, int] = field(default_factory=dict)
    """What was answered greedily, as metrics (`training.answers`): among them the majority baseline."""

    def to_metrics(self) -> dict[str, int]:
        """Flat integers for a record: shares in millionths, counts as they are."""
        metrics = {
            "num_tasks": self.num_tasks,
            "num_samples": self.num_samples,
            "greedy_reward": _millionths(self.greedy_reward),
            **_flat("greedy", self.greedy),
        }
        for k, estimate in self.pass_at.items():
            metrics |= _flat(f"pass_at_{k}", estimate)
        return {**metrics, **self.answers}


def evaluation_tasks(environment: Environment, split: str, num_tasks: int) -> list[Task]:
    """The first `num_tasks` tasks of a split without repeats (fewer if the split has fewer)."""
    tasks: list[Task] = []
    seen: set[str] = set()
    for index in range(2 * num_tasks):
        task = environment.task(split, index)
        if (task.key or task.prompt) not in seen:
            seen.add(task.key or task.prompt)
            tasks.append(task)
        if len(tasks) == num_tasks:
            break
    return tasks


def pass_at_k(num_correct: int, num_samples: int, k: int) -> float:
    """Unbiased chance that at least one of k samples is right: 1 - C(n-c, k) / C(n, k).

    Source: Chen et al. 2021 (arXiv 2107.03374), equation 1; exact integers, one rounding.
    """
    if not 0 <= num_correct <= num_samples or not 1 <= k <= num_samples:
        raise ValueError(
            f"got {num_correct} right of {num_samples} with k = {k}; "
            "expected 0 <= right <= samples and 1 <= k <= samples"
        )
    every, wrong = math.comb(num_samples, k), math.comb(num_samples - num_correct, k)
    return (every - wrong) / every


def wilson_interval(num_correct: int, num_trials: int, z: float = Z_95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927): honest at 0, at 1 and for few trials."""
    if not 0 <= num_correct <= num_trials or num_trials == 0:
        raise ValueError(f"got {num_correct} right of {num_trials} trials")
    share = num_correct / num_trials
    spread = z * z / num_trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / num_trials + spread / 4 / num_trials)
    low = 0.0 if num_correct == 0 else max(0.0, centre - half)
    high = 1.0 if num_correct == num_trials else min(1.0, centre + half)
    return low, high


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """95 percent percentile interval of the mean of one value in [0, 1] per task.

    Resampling all-0 or all-1 values would claim certainty; there Wilson's interval for the share
    of tasks that differ bounds the mean instead.
    """
    if not values:
        raise ValueError("got no value, expected one per task")
    if set(values) in ({0.0}, {1.0}):
        return wilson_interval(round(sum(values)), len(values))
    rng = np.random.Generator(np.random.PCG64(seed))
    sample = np.asarray(values, dtype=np.float64)
    picks = rng.integers(0, len(sample), size=(NUM_RESAMPLES, len(sample)))
    low, high = np.quantile(sample[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def powers_of_two(num_samples: int) -> tuple[int, ...]:
    """The k to report: 1, 2, 4, ... and `num_samples` itself."""
    below = [1 << i for i in range(num_samples.bit_length()) if 1 << i < num_samples]
    return (*below, num_samples) if num_samples else ()


def score(
    version: int,
    split: str,
    greedy_rewards: Sequence[float],
    sampled_rewards: Sequence[Sequence[float]] = (),
    seed: int = 0,
) -> Evaluation:
    """Rewards into an evaluation.

    Args:
        version: the policy version that gave every completion.
        split: where the tasks come from.
        greedy_rewards: one per task.
        sampled_rewards: per task, one per sampled completion (the same number for each task).
        seed: of the bootstrap.

    Raises:
        ValueError: no task, or tasks with different numbers of samples.
    """
    if not greedy_rewards:
        raise ValueError("got no greedy reward, expected one per task")
    num_right = _num_right(greedy_rewards)
    share = num_right / len(greedy_rewards)
    counts = {len(rewards) for rewards in sampled_rewards}
    if len(counts) > 1 or (sampled_rewards and len(sampled_rewards) != len(greedy_rewards)):
        raise ValueError(f"samples per task differ or tasks are missing: got {sorted(counts)}")
    num_samples = counts.pop() if counts else 0
    right = [_num_right(rewards) for rewards in sampled_rewards]
    pass_at = {k: _estimate(right, num_samples, k, seed) for k in powers_of_two(num_samples)}
    return Evaluation(
        version=version,
        split=split,
        num_tasks=len(greedy_rewards),
        greedy=Estimate(share, *wilson_interval(num_right, len(greedy_rewards))),
        greedy_reward=math.fsum(greedy_rewards) / len(greedy_rewards),
        num_samples=num_samples,
        pass_at=pass_at,
    )


def _estimate(right: Sequence[int], num_samples: int, k: int, seed: int) -> Estimate:
    per_task = [pass_at_k(num_correct, num_samples, k) for num_correct in right]
    mean = math.fsum(per_task) / len(per_task)
    return Estimate(mean, *bootstrap_interval(per_task, seed))


def _num_right(rewards: Sequence[float]) -> int:
    return sum(reward >= EXACT for reward in rewards)


def _flat(name: str, estimate: Estimate) -> dict[str, int]:
    return {
        name: _millionths(estimate.value),
        f"{name}_low": _millionths(estimate.low),
        f"{name}_high": _millionths(estimate.high),
    }


def _millionths(share: float) -> int:
    return round(share * MILLIONTHS)
