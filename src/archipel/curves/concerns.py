"""Is a run going wrong? Sentences from the measurements of its versions; no sentence is good news. Pure.

Each rule looks at the newest `WINDOW` versions and stays silent while there are fewer, or where what it
needs was not measured. The bounds are guesses that should be wrong on the quiet side: a warning is not a stop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import fmean

from archipel.curves.history import GREEDY, Exam, History, Point
from archipel.plurals import counted

WINDOW = 5
"""Versions that have to agree."""
SOLVED = 0.999
"""A mean reward from here up leaves nothing to learn."""
FEW_FINISHED = 0.25
"""Share of completions that end by themselves; below, most of the work is thrown away."""
ENTROPY_LEFT = 0.2
"""Of the first versions' entropy: below, the policy has nearly stopped choosing."""
LOW_ENTROPY_NATS = 0.1
GOOD_REWARD = 0.9
"""A policy that is right may be sure of itself."""
MISMATCH_NATS = 0.02
"""KL between what sampled and what learns, in nats per token, that is large whatever it was before."""
MISMATCH_GROWTH = 4.0
FEW_EFFECTIVE = 0.8
"""Share of the tokens that count, as importance weights spread them."""
MUCH_HELD_BACK = 0.5
MUCH_ALIKE = 0.8
"""Share of a batch that is one and the same completion, whatever was asked."""
FINISHED, COMMONEST = "finished_fraction", "commonest_fraction"


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that goes wrong."""

    kind: str
    """`nothing-to-learn`, `solved`, `cut-off`, `collapse`, `worse`, `mismatch`, `held-back`, `grading`."""
    text: str
    """What was seen, then what may be done about it."""


def concerns(history: History) -> list[Concern]:
    """What is wrong now, the most serious first."""
    points = [point for point in history.points if point.version > 0]
    newest = points[-WINDOW:]
    found = [_worse(history.exams)]
    if len(newest) == WINDOW:
        found = [rule(points, newest) for rule in RULES] + found
    return [concern for concern in found if concern is not None]


def _nothing_to_learn(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """All rewards of every group were equal, version after version: no group carried a gradient."""
    dull = list(takewhile(_is_dull, reversed(points)))
    if len(dull) < WINDOW:
        return None
    rewards = [point.values["reward"] for point in dull if "reward" in point.values]
    reward = fmean(rewards) if rewards else 0.0
    seen = f"all groups of the last {counted(len(dull), 'update')} had equal rewards (mean {reward:.3f})"
    if reward >= SOLVED:
        return Concern("solved", f"{seen}: every answer is right; harder tasks would teach more")
    return Concern(
        "nothing-to-learn",
        f"{seen}: nothing is learned; give easier tasks, a better start (archipel sft), partial credit, "
        "or more rollouts per group",
    )


def _is_dull(point: Point) -> bool:
    groups = point.values.get("groups", 0.0)
    return groups > 0 and point.values.get("zero_advantage_groups") == groups


def _cut_off(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """Completions end at the length limit, not by themselves."""
    finished = _mean(newest, FINISHED)
    if finished is None or finished >= FEW_FINISHED:
        return None
    seen = (
        f"no completion of the last {WINDOW} versions ended by itself"
        if finished == 0
        else f"only {finished:.1%} of the completions of the last {WINDOW} versions ended by themselves"
    )
    return Concern(
        "cut-off",
        f"{seen}; most environments give an unfinished one 0: raise sampling.max_new_tokens, or start "
        "from weights that know how an answer ends",
    )


def _collapse(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """Few different answers, although they are not the right ones."""
    first, last = _mean(_trained(points[:WINDOW]), "entropy"), _mean(_trained(newest), "entropy")
    reward, alike = _mean(newest, "reward"), _mean(newest, COMMONEST)
    if reward is None or reward >= GOOD_REWARD:
        return None
    seen = []
    if (
        first is not None
        and last is not None
        and last < min(LOW_ENTROPY_NATS, ENTROPY_LEFT * first)
    ):
        seen.append(f"entropy fell from {first:.3f} to {last:.3f} nats per token")
    if alike is not None and alike > MUCH_ALIKE:
        seen.append(f"one and the same completion is {alike:.0%} of all, whatever is asked")
    if not seen:
        return None
    return Concern(
        "collapse",
        f"{' and '.join(seen)}, while the reward is {reward:.3f}: the policy repeats a few answers; lower "
        "the learning rate, or compare pass@k in `archipel eval --samples`",
    )


def _mismatch(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """What sampled and what learns disagree more and more."""
    first = _mean(_trained(points[:WINDOW]), "mismatch_kl")
    last = _mean(_trained(newest), "mismatch_kl")
    effective = _mean(_trained(newest), "effective_sample_fraction")
    if first is None or last is None or last < max(MISMATCH_NATS, MISMATCH_GROWTH * first):
        return None
    if effective is not None and effective >= FEW_EFFECTIVE:
        return None
    share = "" if effective is None else f"; {effective:.0%} of the tokens count effectively"
    return Concern(
        "mismatch",
        f"the mismatch between what samples and what learns is {last:.3g} nats per token (the first "
        f"versions: {first:.3g}){share}: lower the learning rate or run.max_staleness",
    )


def _held_back(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """The loss's guard is in force at most tokens."""
    share = _mean(_trained(newest), "held_back_fraction")
    if share is None or share <= MUCH_HELD_BACK:
        return None
    return Concern(
        "held-back",
        f"the loss holds back {share:.0%} of the tokens of the last {WINDOW} versions: lower the "
        "learning rate, or widen its clip",
    )


def _grading(points: Sequence[Point], newest: Sequence[Point]) -> Concern | None:
    """Rewards of 0 that no grader gave; the count runs on, and begins anew with a new process."""
    counts = [point.values.get("grading_faults", 0.0) for point in points[-WINDOW - 1 :]]
    new = sum(max(0.0, b - a) if b >= a else b for a, b in pairwise(counts))
    if new < sum(point.values.get("groups", 0.0) for point in newest) or new == 0:
        return None
    return Concern(
        "grading",
        f"{new:.0f} completions of the last {WINDOW} versions got 0 because grading failed, not because "
        "they were wrong: the update process's log says why",
    )


def _worse(exams: Sequence[Exam]) -> Concern | None:
    """Held-out results are below an earlier version's, further than both intervals reach."""
    scores = [name for name in (exams[-1].values if exams else ()) if _is_score(name)]
    for name in scores:
        rated = [exam for exam in exams if f"{name}_high" in exam.values and name in exam.values]
        if len(rated) < 2:
            continue
        best, last = max(rated, key=lambda exam: exam.values[name]), rated[-1]
        if last.values[f"{name}_high"] < best.values[f"{name}_low"]:
            return Concern(
                "worse",
                f"held-out {name.replace('_', ' ')} fell from {best.values[name]:.3f} at version "
                f"{best.version} to {last.values[name]:.3f} at version {last.version}, beyond both 95% "
                f"intervals: version {best.version} was better; lower the learning rate",
            )
    return None


def _is_score(name: str) -> bool:
    return name.startswith((GREEDY, "pass_at_")) and not name.endswith(("_low", "_high", "_reward"))


def _trained(points: Sequence[Point]) -> list[Point]:
    """Means over trained tokens are 0 where there were none, and measure nothing."""
    return [point for point in points if point.values.get("tokens") != 0]


def _mean(points: Sequence[Point], name: str) -> float | None:
    """Mean over the points; None if not all of them have it."""
    values = [point.values[name] for point in points if name in point.values]
    return fmean(values) if values and len(values) == len(points) else None


RULES: tuple[Callable[[Sequence[Point], Sequence[Point]], Concern | None], ...] = (
    _nothing_to_learn,
    _cut_off,
    _collapse,
    _mismatch,
    _held_back,
    _grading,
)
