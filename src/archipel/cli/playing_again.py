"""Episodes of a run played again, or their seals checked, from its ledger and blobs: no secret and no weights are needed for it."""

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
    from archipel.work.seals import Check

WHAT = "results whose episodes were played again: the environment wrote the rest"
SEALED = "results whose episodes carry the trusted role's seal over every answer"


def check_episodes(story: RunStory, opened: RunOpened, blobs: Blobs, findings: Findings) -> None:
    """Whether the environment wrote what is not sampled in every accepted episode, and ended it where it ends."""
    if story.pace.episodes is None:
        return
    what = SEALED if story.pace.episodes.is_hosted else WHAT
    with findings.looking(what, "the run's opening", BadPayload):
        check = _check(story, opened, blobs)
        for number, (work, each) in enumerate(story.results.items()):
            findings.progress(f"episodes of result {number} of {len(story.results)}")
            with findings.looking(what, work, BadPayload):
                groups = rollouts_of(story, blobs, each)
                void = [
                    f"group {index}, rollout {place}"
                    for index, rollouts in groups.items()
                    for place, rollout in enumerate(rollouts)
                    if not check(index, place, rollout)
                ]
                if void:
                    raise BadPayload(
                        f"{len(void)} episodes say what the environment did not, first {void[0]}: they are void"
                    )
                findings.checked[what] += 1


def _check(story: RunStory, opened: RunOpened, blobs: Blobs) -> "Check":
    from archipel.work.episodes import upholding
    from archipel.work.seals import check_of

    if story.pace.episodes is not None and story.pace.episodes.is_hosted:
        return check_of(opened)
    check = upholding(_conduct(story, opened, blobs), opened, story.pace.max_new_tokens)
    if check is None:
        raise NotKept("the run's pace speaks of no episodes")
    return check


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
