"""Where a learner starts: from what this machine remembers of the run, from the run's published checkpoint,
or from version 0.

Law: a trainer continues only under the recipe that the work names, and at the version that it was said
to stand at; that its weights are the run's is shown by the digest that every update is checked against. What
nothing else shows is the secret that rewards hang on: the run's folder remembers a digest of it.
"""

from pathlib import Path

import torch

from archipel.model.backends import read_any_model
from archipel.model.devices import CPU
from archipel.model.directory import InvalidModel, read_model
from archipel.records.canonical import sha256_digest
from archipel.records.kept import Damaged, kept, read_kept
from archipel.records.recipe import Recipe
from archipel.training.checkpoint import NoCheckpoint
from archipel.training.resuming import newest_number
from archipel.training.teacher import WrongTeacher
from archipel.training.trainer import Trainer
from archipel.work.folders import first_adapter
from archipel.work.kind import Context, WorkFailed

REMEMBERED = "secret.json"
"""In the run's folder, below a home that only its owner reads; what it is a digest of lies there as well."""


def same_secret(folder: Path, secret: bytes | None) -> None:
    """Remember which secret the run has here, or compare: rewards by another one make another run.

    Raises:
        WorkFailed: it is another one than when this folder was begun.
    """
    place = folder / REMEMBERED
    digest = "none" if secret is None else sha256_digest(b"the secret of a run\n" + secret)
    try:
        before = read_kept(place.read_bytes()).get("digest")
    except FileNotFoundError:
        partial = place.with_suffix(".partial")
        partial.write_bytes(kept({"digest": digest}))
        partial.replace(place)
        return
    except Damaged as error:
        raise WorkFailed(
            f"{place} is damaged ({error}); if the secret is the run's, remove it"
        ) from None
    if before != digest:
        raise WorkFailed(
            f"the secret is not the one that this run began with here, by {place}: it was changed or is "
            "damaged; put the old one back, or remove that file if this one is right"
        )


def started_trainer(
    context: Context, recipe: Recipe, folder: Path, told: int, device: torch.device = CPU
) -> Trainer:
    """A trainer at the newest version that can be had without replay.

    folder: where this run's trainers are saved. told: the version that `context.checkpoint` stands at,
    -1 when there is none. device: where it learns.

    Raises:
        WorkFailed: it is another recipe's, or at another version than it was said to be.
        BadCheckpoint: the published checkpoint is damaged, or no trainer's.
    """
    try:
        return _started(context, recipe, folder, told, device)
    except WrongTeacher as error:
        raise WorkFailed(str(error)) from None


def _started(
    context: Context, recipe: Recipe, folder: Path, told: int, device: torch.device
) -> Trainer:
    published = context.checkpoint
    if published is not None and told > newest_number(folder):
        trainer = Trainer.unpack(
            published, lambda: read_model(context.model, under_adapter=True), device
        )
        if trainer.version != told:
            raise WorkFailed(f"the checkpoint is of version {trainer.version}, expected {told}")
    else:
        trainer = _own(context, recipe, folder, device)
    if trainer.recipe.digest != recipe.digest:
        raise WorkFailed(
            f"the trainer of version {trainer.version} follows recipe {trainer.recipe.digest}, the run "
            f"{recipe.digest}; if {folder} belongs to another run of this name, move it away"
        )
    return trainer


def _own(context: Context, recipe: Recipe, folder: Path, device: torch.device) -> Trainer:
    try:
        return Trainer.restore(
            folder, lambda: read_model(context.model, under_adapter=True), device
        )
    except NoCheckpoint:
        form = None if recipe.adapter is None else recipe.adapter.form
        try:
            return Trainer(
                read_any_model(context.model, context.backend, under_adapter=True).to(device),
                recipe,
                first_adapter(context.model, form),
            )
        except InvalidModel as error:
            raise WorkFailed(f"the first weights of {context.run}: {error}") from None
