"""From what a batch earned to the advantages of its completions, as a recipe's [algorithm] says."""

from collections.abc import Mapping, Sequence

from archipel.records.recipe import Recipe
from archipel.training.algorithms import make_advantages, parts
from archipel.training.algorithms.shaping import shaped
from archipel.training.batch import BadGroup, Group


def advantages_of(groups: Sequence[Group], recipe: Recipe) -> list[tuple[float, ...]]:
    """Of each group, those of its rollouts; all 0 where a group says nothing, or a teacher alone does.

    Raises:
        BadGroup: the recipe weighs a reward part that the environment does not give.
    """
    if recipe.teacher is not None and recipe.teacher.rewards == "ignored":
        return [(0.0,) * len(group.rollouts) for group in groups]
    section, most = recipe.algorithm, recipe.sampling.max_new_tokens
    if section.part_weights:
        return _of_parts(groups, section.part_weights)
    rewards = [
        shaped(group.rewards, [len(each.tokens) for each in group.rollouts], section, most)
        for group in groups
    ]
    return make_advantages(section)(rewards)


def _of_parts(groups: Sequence[Group], weights: Mapping[str, float]) -> list[tuple[float, ...]]:
    """A part that a grading did not give, as of an unfinished completion, is 0."""
    given = {name for group in groups for name in group.parts}
    unknown = sorted(weights.keys() - given)
    if given and unknown:
        raise BadGroup(
            f"algorithm.part_weights names {', '.join(unknown)}; the environment gives {', '.join(sorted(given))}"
        )
    nothing = {group.index: (0.0,) * len(group.rollouts) for group in groups}
    values = [[group.parts.get(name, nothing[group.index]) for name in weights] for group in groups]
    return parts.advantages(values, tuple(weights.values()))
