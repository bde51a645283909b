"""What held-out tasks say against a run: worse than before, apart from its reward, no better than one answer. Pure."""

import math
from collections.abc import Sequence

from archipel.curves.history import GREEDY, Exam, History
from archipel.curves.means import Concern, mean

RISEN = 0.03
"""Mean reward of training that counts as risen meanwhile."""
WORTH_HAVING = 0.2
"""What one answer to everything has to earn before it is a baseline."""
LASTING = 2
"""So many evaluations in a row below the best are no accident."""


def worse(history: History, but: str | None) -> Concern | None:
    """Held-out results are below an earlier version's: beyond both intervals, or lastingly beyond their difference's.

    but: a score that is spoken of already.
    """
    exams = history.exams
    for name in _scores(exams):
        rated = _rated(exams, name)
        if len(rated) < 2 or name == but:
            continue
        best, last = max(rated, key=lambda exam: exam.values[name]), rated[-1]
        since = [exam for exam in rated if exam.version > best.version]
        is_clear = last.values[f"{name}_high"] < best.values[f"{name}_low"]
        is_lasting = len(since) >= LASTING and all(
            best.values[name] - exam.values[name] > _doubt(best, exam, name)
            for exam in since[-LASTING:]
        )
        if is_clear or is_lasting:
            beyond = "beyond both 95% intervals" if is_clear else f"{LASTING} evaluations in a row"
            return Concern(
                "worse",
                f"held-out {name.replace('_', ' ')} fell from {best.values[name]:.3f} at version "
                f"{best.version} to {last.values[name]:.3f} at version {last.version}, {beyond}: version "
                f"{best.version} was better; lower the learning rate",
            )
    return None


def apart(history: History) -> Concern | None:
    """The reward of training rises while the score on held-out tasks falls, by more than chance moves it."""
    rated = _rated(history.exams, GREEDY)
    if len(rated) < 2:
        return None
    best, last = max(rated, key=lambda exam: exam.values[GREEDY]), rated[-1]
    before, now = _reward_at(history, best.version), _reward_at(history, last.version)
    if before is None or now is None or now < before + RISEN:
        return None
    if best.values[GREEDY] - last.values[GREEDY] <= _doubt(best, last, GREEDY):
        return None
    return Concern(
        "apart",
        f"the reward rose from {before:.3f} at version {best.version} to {now:.3f} at version {last.version} "
        f"while held-out greedy fell from {best.values[GREEDY]:.3f} to {last.values[GREEDY]:.3f}: what is "
        "rewarded is not what is asked, or the tasks are too few; read answers (archipel run rollouts)",
    )


def constant(history: History) -> Concern | None:
    """Held-out tasks get one answer, which alone would earn as much."""
    if not history.exams:
        return None
    last, bounds = history.exams[-1], history.bounds
    share, baseline = last.values.get("commonest_answer"), last.values.get("constant_reward")
    earned = last.values.get("greedy_reward")
    if share is None or baseline is None or earned is None or share < bounds.commonest_answer:
        return None
    if earned > baseline + bounds.constant_margin or earned >= 1.0:
        return None
    return Concern(
        "collapse",
        f"one answer is {share:.0%} of those to the held-out tasks of version {last.version}, and given to "
        f"all of them it earns {baseline:.3f} of the {earned:.3f} there are: lower the learning rate, or start "
        "from weights that answer differently to different tasks",
    )


def majority(history: History) -> Concern | None:
    """After learning, held-out tasks earn no more than their commonest answer would, given to all of them."""
    if len(history.exams) < 2:
        return None
    last, bounds = history.exams[-1], history.bounds
    share, baseline = last.values.get("commonest_answer"), last.values.get("constant_reward")
    earned = last.values.get("greedy_reward")
    if share is None or baseline is None or earned is None or earned >= bounds.good_reward:
        return None
    if share >= bounds.commonest_answer or baseline < WORTH_HAVING:
        return None
    if earned > baseline + bounds.constant_margin:
        return None
    return Concern(
        "majority",
        f"held-out tasks earn {earned:.3f} at version {last.version}, and one answer given to all of them "
        f"{baseline:.3f}: no skill is shown yet; give a better start (archipel sft) or tasks with more answers",
    )


def _reward_at(history: History, version: int) -> float | None:
    """Mean reward of training around a version."""
    window = history.bounds.window
    reach = range(max(1, version - window + 1), max(version, window) + 1)
    near = [point for point in history.points if point.version in reach]
    return mean(near, "reward") if len(near) == window else None


def _doubt(one: Exam, other: Exam, name: str) -> float:
    """Half the 95% interval of the difference, as of independent tasks: wide where they are the same."""
    low, high = one.values[name] - one.values[f"{name}_low"], other.values[f"{name}_high"]
    return math.hypot(low, high - other.values[name])


def _rated(exams: Sequence[Exam], name: str) -> list[Exam]:
    names = (name, f"{name}_low", f"{name}_high")
    return [exam for exam in exams if all(each in exam.values for each in names)]


def _scores(exams: Sequence[Exam]) -> list[str]:
    return [name for name in (exams[-1].values if exams else ()) if _is_score(name)]


def _is_score(name: str) -> bool:
    return name.startswith((GREEDY, "pass_at_")) and not name.endswith(("_low", "_high", "_reward"))
