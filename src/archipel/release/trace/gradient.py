"""What each group weighed in the gradients that made a model. Pure.

A rollout's weight in its update is |advantage| times what its tokens count for together (as many as it has, or one, by
`loss.mean_over`), over the sum of that in the same update; every update that had a gradient counts alike. So a group whose
rewards are all equal weighs nothing. Advantages are those of the recipe, computed as the learner does. Left out, for it
takes the weights to know: importance ratios and what the loss held back, the length of the step, and what later updates
undid.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archipel.records.recipe import Recipe
from archipel.training.algorithms import make_advantages
from archipel.training.algorithms.shaping import shaped

HOW = (
    "|advantage| by the recipe's algorithm, times the tokens or the completion that it counts for, over the same of its "
    "update; updates count alike. Ratios, clipping and step lengths are not in it"
)


@dataclass(frozen=True, slots=True)
class GradedGroup:
    """Of each of its rollouts: reward, tokens, and how many of them the model sampled."""

    index: int
    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    sampled: tuple[int, ...]


def why_unknown(recipe: Recipe) -> str:
    """Why rewards do not tell the weights of such a run; empty: they do."""
    if recipe.teacher is not None:
        return "a teacher's words weigh here too, which rewards do not tell"
    if recipe.algorithm.part_weights:
        return "the recipe weighs parts of rewards, which are not graded here"
    return ""


def weights(updates: Mapping[int, Sequence[GradedGroup]], recipe: Recipe) -> dict[int, float]:
    """Group -> its share of all updates' gradients; together 1, or nothing where no update had a gradient.

    updates: version -> all groups of the batch that made it.

    Raises:
        ValueError: `why_unknown` says why.
    """
    if why := why_unknown(recipe):
        raise ValueError(why)
    found: dict[int, float] = defaultdict(float)
    moved = 0
    for groups in updates.values():
        own = _of_update(groups, recipe)
        total = sum(own.values())
        moved += total > 0
        for group, weight in own.items():
            found[group] += weight / total if total > 0 else 0.0
    return {group: weight / max(1, moved) for group, weight in sorted(found.items())}


def _of_update(groups: Sequence[GradedGroup], recipe: Recipe) -> dict[int, float]:
    section, most = recipe.algorithm, recipe.sampling.max_new_tokens
    rewards = [shaped(each.rewards, each.lengths, section, most) for each in groups]
    found = make_advantages(section)(rewards)
    by_token = recipe.loss.mean_over != "sequences"
    return {
        group.index: sum(
            abs(advantage) * (sampled if by_token else 1)
            for advantage, sampled in zip(own, group.sampled, strict=True)
        )
        for group, own in zip(groups, found, strict=True)
    }
