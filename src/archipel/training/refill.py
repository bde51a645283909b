"""Batches that ask for more until enough of their groups teach something (DAPO's dynamic sampling, arXiv 2503.14476).

A group whose rewards are all equal has no advantage and teaches nothing. A run that refills asks, once a batch is
graded, for further groups of that batch, until B of its groups teach or it has taken all that it may. Every group
that was asked for is learned from; none is thrown away, and none is preferred for having come sooner.

Why this is unbiased: how many groups are asked for hangs on how many teach, never on what these teach, and they are
taken in the order of their numbers. Given how many teach, each of them is an independent draw of the groups that do,
so the mean over them is that of all groups, divided by the chance that one teaches: a longer step in the same
direction. (Taking the first B that come in, as an asynchronous sampler might, prefers short answers.)
Law: what is asked for follows from the groups so far, so that whoever has these asks for the same.
"""

from collections.abc import Sequence

from archipel.records.batches import Batches
from archipel.records.recipe import Recipe
from archipel.training.advantages import advantages_of
from archipel.training.batch import Group


def batches_of(recipe: Recipe) -> Batches:
    """The numbers of a recipe's groups."""
    run = recipe.run
    return Batches(run.versions, run.groups_per_update, recipe.algorithm.refill)


def num_teaching(groups: Sequence[Group], recipe: Recipe) -> int:
    """Groups with an advantage of their own."""
    return sum(any(advantages_of([group], recipe)[0]) for group in groups)


def num_wanted(groups: Sequence[Group], recipe: Recipe) -> int:
    """How many further groups a batch asks for that has these; 0: it is whole.

    As many as it should take if as large a share of them teaches as of those before, but not more than there are.
    """
    batches = batches_of(recipe)
    left = (1 + batches.refill) * batches.size - len(groups)
    if not left:
        return 0
    teaching = num_teaching(groups, recipe)
    missing = batches.size - teaching
    if missing <= 0:
        return 0
    guess = -(-missing * len(groups) // teaching) if teaching else len(groups)
    return min(left, len(groups), guess)
