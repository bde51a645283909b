"""Episodes of a run played again, and completions read again, from its ledger and blobs: no secret and no weights are
needed for it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.lab.run_story import RunStory
from archipel.records.payload import BadPayload
from archipel.records.rollouts import Rollout
from archipel.records.statements import RunOpened

T = TypeVar("T")
IsVoid = Callable[[int, Rollout], bool]
"""(group, rollout) -> whether it cannot have come as it was asked."""

WHAT = "results whose episodes were played again: the environment wrote the rest"
READ = "results whose completions were read again: they say what is allowed and end where they must"


def check_episodes(story: RunStory, opened: RunOpened, blobs: Blobs, findings: Findings) -> None:
    """Whether the environment wrote what is not sampled in every accepted episode, and ended it where it ends; or
    whether completions say what the run allows, and end where their text does.
    """
    pace = story.pace
    is_played = pace.episodes is not None
    if not is_played and pace.stop is None and pace.allowed is None:
        return
    what = WHAT if is_played else READ
    with findings.looking(what, "the run's opening", BadPayload):
        faults = _void_episodes(story, opened, blobs) if is_played else _void(story, opened, blobs)
        for number, (work, each) in enumerate(story.results.items()):
            findings.progress(f"rollouts of result {number} of {len(story.results)}")
            with findings.looking(what, work, BadPayload):
                groups = rollouts_of(story, blobs, each)
                void = [
                    f"group {index}, rollout {place}"
                    for index, rollouts in groups.items()
                    for place, rollout in enumerate(rollouts)
                    if faults(index, rollout)
                ]
                if void:
                    kind = "episodes say what the environment did not"
                    if not is_played:
                        kind = "completions cannot have been sampled as they were asked"
                    raise BadPayload(f"{len(void)} {kind}, first {void[0]}: they are void")
                findings.checked[what] += 1


def _void_episodes(story: RunStory, opened: RunOpened, blobs: Blobs) -> IsVoid:
    from archipel.work.episodes import played

    conduct = _with_tokenizer(opened, blobs, lambda folder: played(story.pace, folder))
    if conduct is None:
        raise NotKept("the run's pace speaks of no episodes")
    limit = story.pace.max_new_tokens
    return lambda index, rollout: not conduct.upholds("train", index, rollout, limit)


def _void(story: RunStory, opened: RunOpened, blobs: Blobs) -> IsVoid:
    from archipel.work.asked import wording_by

    wording = _with_tokenizer(opened, blobs, lambda folder: wording_by(story.pace, folder))
    return lambda index, rollout: wording is not None and bool(wording.fault(rollout))


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
