"""Reinforcement learning: a version answers held-out tasks of the recipe's environment, and is graded."""

from archipel.engine.engine import Engine
from archipel.records.recipe import Recipe
from archipel.training.evaluation import evaluation_tasks
from archipel.work.judging import DEV, examination_of, examine
from archipel.work.kind import Context, Progress
from archipel.work.programme import Examiner, Marks


def examiner(context: Context) -> Examiner:
    """One with a grading process of its own."""
    recipe = context.recipe_as(Recipe)
    examination = examination_of(recipe, context.model, context.secret)
    section = recipe.evaluation
    samples = section.samples_per_task if section.samples_per_task > 1 else 0

    def marks(engine: Engine, version: int, progress: Progress) -> Marks:
        tasks = evaluation_tasks(examination.environment, DEV, section.num_tasks)
        result = examine(engine, examination, tasks, version, samples, progress)
        return Marks(result.to_metrics(), {"split": DEV})

    return Examiner(examine=marks, close=examination.grader.close)
