"""Reinforcement learning: a version answers held-out tasks of the recipe's environment, and is graded."""

from archipel.records.recipe import Recipe
from archipel.work.judging import DEV, examination_of, examine_version
from archipel.work.kind import Context, Progress
from archipel.work.policies import Policy
from archipel.work.programme import Examiner, Marks, Seated


def examiner(context: Context) -> Examiner:
    """One with a grading process of its own."""
    examination = examination_of(context.recipe_as(Recipe), context.model, context.secret)

    def marks(policy: Policy, seated: Seated, progress: Progress) -> Marks:
        result = examine_version(seated(), examination, policy.manifest.version, progress)
        return Marks(result.to_metrics(), {"split": DEV})

    return Examiner(examine=marks, close=examination.grader.close)
