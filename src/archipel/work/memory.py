"""Where a learner starts: from what this machine remembers of the run, from the run's published checkpoint,
or from version 0.

Law: a trainer continues only under the recipe that the work names, and at the version that it was said
to stand at; that its weights are the run's is shown by the digest that every update is checked against.
"""

from pathlib import Path

from archipel.model.directory import read_model
from archipel.records.recipe import Recipe
from archipel.training.checkpoint import NoCheckpoint, latest_number
from archipel.training.trainer import Trainer
from archipel.work.kind import Context, WorkFailed


def started_trainer(context: Context, recipe: Recipe, folder: Path, told: int) -> Trainer:
    """A trainer at the newest version that can be had without replay.

    folder: where this run's trainers are saved. told: the version that `context.checkpoint` stands at,
    -1 when there is none.

    Raises:
        WorkFailed: it is another recipe's, or at another version than it was said to be.
        BadCheckpoint: the published checkpoint is damaged, or no trainer's.
    """
    published = context.checkpoint
    if published is not None and told > latest_number(folder):
        trainer = Trainer.unpack(published)
        if trainer.version != told:
            raise WorkFailed(f"the checkpoint is of version {trainer.version}, expected {told}")
    else:
        trainer = _own(context, recipe, folder)
    if trainer.recipe.digest != recipe.digest:
        raise WorkFailed(
            f"the trainer of version {trainer.version} follows recipe {trainer.recipe.digest}, the run "
            f"{recipe.digest}; if {folder} belongs to another run of this name, move it away"
        )
    return trainer


def _own(context: Context, recipe: Recipe, folder: Path) -> Trainer:
    try:
        return Trainer.restore(folder)
    except NoCheckpoint:
        return Trainer(read_model(context.model), recipe)
