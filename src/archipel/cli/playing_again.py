"""Episodes of a run played again or their seals checked, and completions read again, from its ledger and blobs: no
secret and no weights are needed for it.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import RunStory
from archipel.records.payload import BadPayload
from archipel.records.statements import RunOpened
from archipel.records.tasks import tasks_of

if TYPE_CHECKING:
    from archipel.work.seals import Check

T = TypeVar("T")

WHAT = "results whose episodes were played again: the environment wrote the rest"
SEALED = "results whose episodes carry the trusted role's seal over every answer"
READ = "results whose completions were read again: they say what is allowed and end where they must"


def check_episodes(story: RunStory, opened: RunOpened, blobs: Blobs, findings: Findings) -> None:
    """Whether the environment wrote what is not sampled in every accepted episode, and ended it where it ends; or
    whether completions say what the run allows, and end where their text does.
    """
    pace = story.pace
    if pace.episodes is None and pace.stop is None and pace.allowed is None:
        return
    is_hosted = pace.episodes is not None and pace.episodes.is_hosted
    what = SEALED if is_hosted else READ if pace.episodes is None else WHAT
    with findings.looking(what, "the run's opening", BadPayload):
        tasks: dict[int, int] = {}
        check = _check(story, opened, blobs, tasks)
        for number, (work, each) in enumerate(story.standing.items()):
            findings.progress(f"rollouts of result {number} of {len(story.results)}")
            with findings.looking(what, work, BadPayload):
                groups = rollouts_of(story, blobs, each)
                tasks |= tasks_of(each.spec, pace, blobs.read) or {}
                void = [
                    f"group {index}, rollout {place}"
                    for index, rollouts in groups.items()
                    for place, rollout in enumerate(rollouts)
                    if not check(index, place, rollout)
                ]
                if void:
                    kind = "completions cannot have been sampled as they were asked"
                    if pace.episodes is not None:
                        kind = "episodes say what the environment did not"
                    raise BadPayload(f"{len(void)} {kind}, first {void[0]}: they are void")
                findings.checked[what] += 1


def _check(story: RunStory, opened: RunOpened, blobs: Blobs, tasks: Mapping[int, int]) -> "Check":
    """tasks: of the groups that it will be asked about, where tasks are chosen."""
    from archipel.work.asked import wording_by
    from archipel.work.episodes import played, upholding
    from archipel.work.seals import check_of

    pace = story.pace
    if pace.episodes is None:
        wording = _with_tokenizer(opened, blobs, lambda folder: wording_by(pace, folder))
        return lambda index, place, rollout: wording is None or not wording.fault(rollout)
    chosen = tasks.__getitem__ if pace.episodes.chooses else None
    if pace.episodes.is_hosted:
        return check_of(opened, chosen)
    conduct = _with_tokenizer(opened, blobs, lambda folder: played(pace, folder))
    if conduct is not None:
        conduct = conduct.choosing(chosen)
    check = upholding(conduct, opened, pace.max_new_tokens)
    if check is None:
        raise NotKept("the run's pace speaks of no episodes")
    return check


def _with_tokenizer(opened: RunOpened, blobs: Blobs, make: Callable[[Path], T]) -> T:
    from archipel.work.kind import WorkFailed

    with tempfile.TemporaryDirectory() as folder:
        for file in opened.model:
            if not file.name.endswith((".safetensors", ".index.json")):
                (Path(folder) / file.name).write_bytes(blobs.read(file.blob))
        try:
            return make(Path(folder))
        except (WorkFailed, ValueError) as error:
            raise NotKept(f"cannot be looked at here: {error}") from None
