"""Is a run going wrong? Sentences from the measurements of its versions; no sentence is good news. Pure.

Each rule looks at the newest versions and stays silent while there are too few, or where what it needs was not
measured. The bounds are the recipe's `[alarms]`; their defaults should be wrong on the quiet side. Rules on
training measurements stand here, those on held-out ones in `held_out`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from archipel.curves.held_out import apart, constant, majority, worse
from archipel.curves.history import GREEDY, History, Point
from archipel.curves.means import Concern, mean, means, trained
from archipel.plurals import counted
from archipel.records.recipe_alarms import AlarmSection

__all__ = ["GRAVE", "Concern", "concerns"]

SOLVED = 0.999
"""A mean reward from here up leaves nothing to learn."""
MISMATCH_GROWTH = 4.0
FEW_EFFECTIVE = 0.8
"""Effective share of the tokens from which a grown mismatch costs nothing."""
ONCE_FINISHED, NOW_FINISHED = 0.75, 0.5
"""Completions that ended by themselves at first, and now."""
LONG = 2
"""Windows over which rewards are compared: batches of few tasks differ in how hard they are."""
LEAST_LOSS = 0.15
"""A reward that fell by less is noise."""
FINISHED, COMMONEST = "finished_fraction", "commonest_fraction"
ANSWER, CONSTANT, DISTINCT = "commonest_answer", "constant_reward", "distinct_answers"
GRAVE = frozenset({"collapse", "worse", "apart", "fallen", "mismatch", "unusable"})
"""Kinds that say that newer weights are no better: what `alarms.pause` acts on."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a rule looks at."""

    points: Sequence[Point]
    """Versions from 1 on."""
    bounds: AlarmSection

    @property
    def newest(self) -> Sequence[Point]:
        return self.points[-self.bounds.window :]

    @property
    def first(self) -> Sequence[Point]:
        return self.points[: self.bounds.window]


def concerns(history: History) -> list[Concern]:
    """What is wrong now, the most serious first."""
    points = [point for point in history.points if point.version > 0]
    sight = _Sight(points, history.bounds)
    split = apart(history)
    fell = worse(history, but=GREEDY if split else None)
    held_out = [split, fell, constant(history), majority(history)]
    found = list(held_out)
    if len(sight.newest) == sight.bounds.window:
        found = [rule(sight) for rule in RULES] + held_out
    kinds: dict[str, Concern] = {}
    for concern in found:
        if concern is not None:
            kinds.setdefault(concern.kind, concern)
    return list(kinds.values())


def _nothing_to_learn(sight: _Sight) -> Concern | None:
    """All rewards of every group were equal, version after version: no group carried a gradient."""
    dull = list(takewhile(_is_dull, reversed(sight.points)))
    if len(dull) < sight.bounds.window:
        return None
    reward = mean(dull, "reward") or 0.0
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


def _few_teach(sight: _Sight) -> Concern | None:
    """Nearly all groups have equal rewards, although the tasks are not solved."""
    dull, groups = mean(sight.newest, "zero_advantage_groups"), mean(sight.newest, "groups")
    reward = mean(sight.newest, "reward")
    if dull is None or reward is None or not groups or all(map(_is_dull, sight.newest)):
        return None
    if dull / groups < sight.bounds.zero_advantage or reward >= sight.bounds.good_reward:
        return None
    return Concern(
        "few-teach",
        f"{dull / groups:.0%} of the groups of the last {sight.bounds.window} versions had equal rewards "
        f"(mean {reward:.3f}) and taught nothing: give more rollouts per group, tasks that the policy "
        "solves sometimes, or algorithm.refill",
    )


def _cut_off(sight: _Sight) -> Concern | None:
    """Completions end at the length limit, not by themselves."""
    first, now, window = (
        mean(sight.first, FINISHED),
        mean(sight.newest, FINISHED),
        sight.bounds.window,
    )
    if now is None or first is None:
        return None
    if now >= sight.bounds.finished and not (first >= ONCE_FINISHED and now < NOW_FINISHED):
        return None
    if now == 0:
        seen = f"no completion of the last {window} versions ended by itself"
    elif now >= sight.bounds.finished:
        seen = f"{now:.0%} of the completions ended by themselves lately, at first {first:.0%}"
    else:
        seen = (
            f"only {now:.1%} of the completions of the last {window} versions ended by themselves"
        )
    return Concern(
        "cut-off",
        f"{seen}; most environments give an unfinished one 0: raise sampling.max_new_tokens, or start "
        "from weights that know how an answer ends",
    )


def _collapse(sight: _Sight) -> Concern | None:
    """Few different answers, although they are not the right ones."""
    reward = mean(sight.newest, "reward")
    if reward is None or reward >= SOLVED:
        return None
    seen = _constant(sight, reward)
    if reward < sight.bounds.good_reward:
        seen += _sure(sight)
    if not seen:
        return None
    return Concern(
        "collapse",
        f"{' and '.join(seen)}, while the reward is {reward:.3f}: the policy repeats a few answers; lower "
        "the learning rate, or compare pass@k in `archipel eval --samples`",
    )


def _constant(sight: _Sight, reward: float) -> list[str]:
    """One answer is nearly all, and the policy earns no more than that answer given to everything."""
    share, baseline = mean(sight.newest, ANSWER), mean(sight.newest, CONSTANT)
    if share is None or baseline is None or share < sight.bounds.commonest_answer:
        return []
    if reward > baseline + sight.bounds.constant_margin:
        return []
    return [f"one answer is {share:.0%} of all, which given to every task earns {baseline:.3f}"]


def _sure(sight: _Sight) -> list[str]:
    """The policy has nearly stopped choosing."""
    bounds, alike = sight.bounds, mean(sight.newest, COMMONEST)
    first, last = mean(trained(sight.first), "entropy"), mean(trained(sight.newest), "entropy")
    seen = []
    least = None if first is None else min(bounds.entropy_nats, bounds.entropy_left * first)
    if last is not None and least is not None and last < least:
        seen.append(f"entropy fell from {first:.3f} to {last:.3f} nats per token")
    if alike is not None and alike > bounds.commonest_completion:
        seen.append(f"one and the same completion is {alike:.0%} of all, whatever is asked")
    return seen


def _few_answers(sight: _Sight) -> Concern | None:
    """Most answers of the beginning are gone, and the rest earns no more than the commonest of them would."""
    first, now = mean(sight.first, DISTINCT), mean(sight.newest, DISTINCT)
    reward, baseline = mean(sight.newest, "reward"), mean(sight.newest, CONSTANT)
    bounds = sight.bounds
    if first is None or now is None or reward is None or baseline is None:
        return None
    if now > bounds.answers_left * first or reward > baseline + bounds.constant_margin:
        return None
    if reward >= bounds.good_reward or _constant(sight, reward):
        return None
    return Concern(
        "few-answers",
        f"{now:.0f} different answers a version lately, at first {first:.0f}, and the commonest given to every task "
        f"earns {baseline:.3f} of the {reward:.3f} there are: lower the learning rate, add a [reference], or "
        "start from weights that know more (archipel sft)",
    )


def _fallen(sight: _Sight) -> Concern | None:
    """The reward that the run had once is gone."""
    span = LONG * sight.bounds.window
    rewards = means(sight.points, "reward", span)
    if not rewards:
        return None
    best, now = max(rewards), rewards[-1]
    if best - now < max(LEAST_LOSS, sight.bounds.reward_lost * best):
        return None
    return Concern(
        "fallen",
        f"the reward of {span} versions was {best:.3f} once and is {now:.3f} now: open a run "
        "from an earlier version (run open --from) with a lower learning rate",
    )


def _mismatch(sight: _Sight) -> Concern | None:
    """What sampled and what learns disagree."""
    first = mean(trained(sight.first), "mismatch_kl")
    last = mean(trained(sight.newest), "mismatch_kl")
    effective = mean(trained(sight.newest), "effective_sample_fraction")
    if first is None or last is None:
        return None
    is_grown = last >= max(sight.bounds.mismatch_nats, MISMATCH_GROWTH * first)
    is_costly = effective is None or effective < FEW_EFFECTIVE
    is_hopeless = effective is not None and effective < sight.bounds.effective_sample
    if not (is_grown and is_costly) and not is_hopeless:
        return None
    share = "" if effective is None else f"; {effective:.0%} of the tokens count effectively"
    return Concern(
        "mismatch",
        f"the mismatch between what samples and what learns is {last:.3g} nats per token (the first "
        f"versions: {first:.3g}){share}: lower the learning rate or run.max_staleness",
    )


def _held_back(sight: _Sight) -> Concern | None:
    """The loss's guard is in force at most tokens."""
    share = mean(trained(sight.newest), "held_back_fraction")
    if share is None or share <= sight.bounds.held_back:
        return None
    return Concern(
        "held-back",
        f"the loss holds back {share:.0%} of the tokens of the last {sight.bounds.window} versions: lower "
        "the learning rate, or widen its clip",
    )


def _unusable(sight: _Sight) -> Concern | None:
    """Sampled tokens whose recorded log-probability is none."""
    lost, used = mean(sight.newest, "invalid_tokens"), mean(sight.newest, "tokens")
    if lost is None or used is None or lost <= sight.bounds.unusable * (lost + used):
        return None
    return Concern(
        "unusable",
        f"{lost / (lost + used):.0%} of the tokens of the last {sight.bounds.window} versions came without a "
        "usable log-probability and were left out: `archipel run rollouts` shows whose they are",
    )


def _grading(sight: _Sight) -> Concern | None:
    """Rewards of 0 that no grader gave; the count runs on, and begins anew with a new process."""
    window = sight.bounds.window
    counts = [point.values.get("grading_faults", 0.0) for point in sight.points[-window - 1 :]]
    new = sum(max(0.0, b - a) if b >= a else b for a, b in pairwise(counts))
    if new < sum(point.values.get("groups", 0.0) for point in sight.newest) or new == 0:
        return None
    return Concern(
        "grading",
        f"{new:.0f} completions of the last {window} versions got 0 because grading failed, not because "
        "they were wrong: the update process's log says why",
    )


OTHER = "say what is not allowed, or end elsewhere than their text,"
VOIDS = {
    "void_episodes": ("episode", "say what their environment did not"),
    "void_completions": ("completion", OTHER),
}


def _void(sight: _Sight) -> Concern | None:
    """Somebody sends episodes that were not played by the environment's rules, or ends completions as they please."""
    for name, (word, what) in VOIDS.items():
        num = sum(point.values.get(name, 0.0) for point in sight.newest)
        if num:
            return Concern(
                "void",
                f"{counted(round(num), word)} of the last {sight.bounds.window} versions {what} and taught nothing: "
                "`archipel run verify` names the works, and so the nodes",
            )
    return None


RULES: tuple[Callable[[_Sight], Concern | None], ...] = (
    _nothing_to_learn,
    _few_teach,
    _cut_off,
    _collapse,
    _few_answers,
    _fallen,
    _mismatch,
    _unusable,
    _held_back,
    _grading,
    _void,
)
