"""The first rollout of a run, as an agent lays it ready for its child."""

from pathlib import Path

from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.recipe import Recipe
from archipel.work.kind import Context
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from tiny import NAME
from work import asked
from work.trusted import Trusted


def first_work(recipe: Recipe, start: Path, folder: Path) -> tuple[RolloutSpec, Context]:
    """A rollout from version 0, as an agent lays it ready."""
    updates = Updates()
    answer = Trusted(folder, start, recipe).ask(updates, "memory")
    updates.close()
    policy, files = answer.values["policy"], answer.files
    data = files["prompts-0"].read_bytes()
    prompts = BlobRef(digest=sha256_digest(data), size=len(data))
    link = LinkMessage(
        version=0, policy=policy, manifest=files["manifest"], anchor=files["anchor"], delta=None
    )
    spec = RolloutSpec(run=NAME, version=0, policy=policy, groups=(0, 1), prompts=(prompts,))
    blobs = {prompts.digest: files["prompts-0"]}
    return spec, asked.context(recipe, start, folder, chain=(link,), blobs=blobs)
