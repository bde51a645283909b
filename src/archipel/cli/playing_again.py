"""Episodes of a run played again from its ledger and blobs: no secret and no weights are needed for it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import RunStory
from archipel.records.payload import BadPayload
from archipel.records.statements import RunOpened

if TYPE_CHECKING:
    from archipel.training.episodes import Conduct

WHAT = "results whose episodes were played again: the environment wrote the rest"


def check_episodes(story: RunStory, opened: RunOpened, blobs: Blobs, findings: Findings) -> None:
    """Whether the environment wrote what is not sampled in every accepted episode, and ended it where it ends."""
    if story.pace.episodes is None:
        return
    with findings.looking(WHAT, "the run's opening", BadPayload):
        conduct = _conduct(story, opened, blobs)
        for number, (work, each) in enumerate(story.results.items()):
            findings.progress(f"episodes of result {number} of {len(story.results)}")
            with findings.looking(WHAT, work, BadPayload):
                groups = rollouts_of(story, blobs, each)
                void = [
                    f"group {index}, rollout {place}"
                    for index, rollouts in groups.items()
                    for place, rollout in enumerate(rollouts)
                    if not conduct.upholds("train", index, rollout, story.pace.max_new_tokens)
                ]
                if void:
                    raise BadPayload(
                        f"{len(void)} episodes say what the environment did not, first {void[0]}: they are void"
                    )
                findings.checked[WHAT] += 1


def _conduct(story: RunStory, opened: RunOpened, blobs: Blobs) -> "Conduct":
    from archipel.work.episodes import played
    from archipel.work.kind import WorkFailed

    with tempfile.TemporaryDirectory() as folder:
        for file in opened.model:
            if not file.name.endswith((".safetensors", ".index.json")):
                (Path(folder) / file.name).write_bytes(blobs.read(file.blob))
        try:
            conduct = played(story.pace, Path(folder))
        except (WorkFailed, ValueError) as error:
            raise NotKept(f"cannot be played here: {error}") from None
    if conduct is None:
        raise NotKept("the run's pace speaks of no episodes")
    return conduct
