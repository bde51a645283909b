"""From what a batch earned to the advantages of its completions, as a recipe's [algorithm] says."""

from collections.abc import Sequence

from archipel.records.recipe import Recipe
from archipel.training.algorithms import make_advantages, parts
from archipel.training.algorithms.shaping import shaped
from archipel.training.batch import BadGroup, Group


def advantages_of(groups: Sequence[Group], recipe: Recipe) -> list[tuple[float, ...]]:
    """Of each group, those of its rollouts; all 0 where a group says nothing.

    Raises:
        BadGroup: the recipe asks for reward parts, and a group has none, or others than the first.
    """
    section, most = recipe.algorithm, recipe.sampling.max_new_tokens
    if section.parts == "normalised":
        return _of_parts(groups)
    rewards = [
        shaped(group.rewards, [len(each.tokens) for each in group.rollouts], section, most)
        for group in groups
    ]
    return make_advantages(section)(rewards)


def _of_parts(groups: Sequence[Group]) -> list[tuple[float, ...]]:
    weights = groups[0].part_weights
    for group in groups:
        if not group.parts or group.part_weights != weights:
            raise BadGroup(
                f'group {group.index} has {len(group.parts)} reward parts; algorithm.parts = "normalised" needs an '
                "environment that gives its reward in parts, the same for each task"
            )
    return parts.advantages([group.parts for group in groups], weights)
