"""`archipel run replay`: merges of a pretraining run made again, by somebody who believes nobody."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import (
    DEFAULT_LAB_URL,
    LabUrl,
    Mendable,
    at_work,
    home_folder,
    mending,
    show,
)
from archipel.cli.lab_door import EXPECT, HEAD, JSON, THREADS, bounded_fetch
from archipel.cli.names import run_names
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.run_blobs import Blobs
    from archipel.lab.merge_story import MergeStory
    from archipel.work.remerging import Remerging, Stage

    Found = list[tuple[int, tuple[Stage, ...]]]


@click.command()
@click.argument("name", shell_complete=run_names)
@click.option(
    "--version",
    "version",
    type=click.IntRange(1),
    help="Which version to make again [the newest]; those since the memory before it are made as well.",
)
@click.option("--all", "is_all", is_flag=True, help="Every version, from version 0 on.")
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help=f"A lab that runs [{DEFAULT_LAB_URL}]."
)
@click.option("--home", type=click.Path(path_type=Path), help="A lab's folder, or a copy of one.")
@click.option(
    "--ledger",
    metavar="PLACE",
    help="A mirror, or a copy of a ledger, to read that from; blobs come from --lab or --home.",
)
@EXPECT
@HEAD
@THREADS
@bounded_fetch("--scratch")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where fetched blobs are kept [~/.archipel/verify].",
)
@JSON
def replay(
    name: str, version: int | None, is_all: bool, url: str | None, home: Path | None, **given: Any
) -> None:
    """Make versions of a pretraining run again from the contributions in its ledger, and compare every bit.

    It begins with version 0, or with the newest memory that was published before, takes the payloads that were
    accepted and the held-out text that was revealed, and says of each version whether inputs, verdicts, weights and
    memory come out as they were published. Nobody's key is needed. Exit code 1: something is unequal.

    \b
    Examples:
      archipel run replay pretrain --lab http://lab.example:8440
      archipel run replay pretrain --version 12
      archipel run replay pretrain --all --home copy-of-lab --json
      archipel run replay pretrain --ledger https://mirror.example/lab --lab http://lab.example:8440
    """
    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    if version is not None and is_all:
        raise click.UsageError("--all makes every version again; give it without --version")
    url = url or (None if home else DEFAULT_LAB_URL)
    story = _heard(name, url, home, given)
    faults = list(story.faults())
    found = _made_again(story, (version, is_all), (url, home), given)
    unequal = [stage for _, stages in found for stage in stages if not stage.equal]
    show(_facts(story, found, faults), given["as_json"], lambda: "\n".join(_lines(found, faults)))
    if unequal or faults:
        raise Mendable(
            f"run {name}: {counted(len(unequal), 'stage')} unequal, {counted(len(faults), 'thing')} that a lab should have "
            "refused"
        )


def _heard(name: str, url: str | None, home: Path | None, given: dict[str, Any]) -> "MergeStory":
    from archipel.cli.ledger_checked import read_ledger
    from archipel.lab.merge_story import MergeStory

    story = MergeStory(name)
    earlier = [given["head_path"]] if given["head_path"] else []
    read_ledger(
        url, None, home, given["expect"], earlier, lambda entry: story.hear(entry.statement)
    )
    with mending(ValueError):
        _ = story.pace
    return story


def _made_again(
    story: "MergeStory",
    wanted: tuple[int | None, bool],
    place: tuple[str | None, Path | None],
    given: dict[str, Any],
) -> "Found":
    """What came of each version that was asked for."""
    import torch

    from archipel.cli.run_blobs import Altered, NotKept, blobs_of

    torch.set_num_threads(given["threads"])
    newest = len(story.versions) - 1
    target = newest if wanted[0] is None else wanted[0]
    if not 1 <= target <= newest:
        raise Mendable(f"{story.name} has versions 1 to {newest} to make again, not {target}")
    (url, home), scratch = place, home_folder("verify", given["scratch"])
    root = (home or scratch) / "blobs"
    with (
        blobs_of(url, root, scratch, given["max_gb"]) as blobs,
        mending(NotKept, Altered, ValueError),
    ):
        remerging = _begun(story, blobs, 0 if wanted[1] else target - 1, scratch)
        return list(_each(story, blobs, remerging, target))


def _begun(story: "MergeStory", blobs: "Blobs", before: int, scratch: Path) -> "Remerging":
    """At the newest published memory up to version `before`, or at version 0."""
    from archipel.model.config_files import read_config
    from archipel.work.remerging import Remerging, standing_at, standing_of

    opened = story.opened
    if opened is None:
        raise ValueError(f"this ledger opens no run {story.name}")
    saved = [
        told.answer for told in story.versions[1 : before + 1] if told.answer.memory is not None
    ]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        config = next(each for each in opened.model if each.name == "config.json")
        (Path(folder) / config.name).write_bytes(blobs.read(config.blob))
        architecture = read_config(Path(folder))
    if saved and saved[-1].memory is not None:
        standing = standing_at(blobs.path(saved[-1].memory), saved[-1].version)
    else:
        standing = standing_of(_first(story, blobs))
    return Remerging(standing, story.pace, architecture, opened.recipe.digest)


def _first(story: "MergeStory", blobs: "Blobs") -> Any:
    from archipel.work.messages import LinkMessage
    from archipel.work.policies import follow

    made = story.versions[0].answer
    link = LinkMessage(
        version=0,
        policy=made.policy,
        manifest=blobs.path(made.manifest),
        anchor=None if made.anchor is None else blobs.path(made.anchor),
        delta=None,
    )
    return follow([link], None, made.policy)


def _each(
    story: "MergeStory", blobs: "Blobs", remerging: "Remerging", target: int
) -> "Iterator[tuple[int, tuple[Stage, ...]]]":
    from archipel.records.documents import inputs_digest
    from archipel.work.remerging import Stage

    for number in range(remerging.standing.version + 1, target + 1):
        at_work(f"merging version {number} of {target}")
        told = story.versions[number]
        inputs = story.inputs(told)
        stages = remerging.next(told.answer, inputs, told.bound, blobs.read)
        made_from = Stage("inputs", str(told.spec.inputs), inputs_digest(inputs))
        yield number, (made_from, *stages)
        if not all(stage.equal for stage in stages):
            return  # what comes after would begin with other weights


def _facts(story: "MergeStory", found: "Found", faults: list[str]) -> dict[str, Any]:
    versions = [
        {
            "version": number,
            "stages": [
                {
                    "stage": stage.name,
                    "equal": stage.equal,
                    "published": stage.published,
                    "made": stage.made,
                }
                for stage in stages
            ],
        }
        for number, stages in found
    ]
    return {"run": story.name, "versions": versions, "faults": faults}


def _lines(found: "Found", faults: list[str]) -> Iterator[str]:
    for number, stages in found:
        yield f"version {number}"
        for stage in stages:
            if stage.equal:
                yield f"  {stage.name:8}  equal    {stage.made}"
            else:
                yield f"  {stage.name:8}  UNEQUAL  made {stage.made}, published {stage.published}"
    yield from (f"DOES NOT HOLD: {fault}" for fault in faults)
