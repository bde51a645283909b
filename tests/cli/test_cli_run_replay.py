"""`archipel run replay`, of a tiny run whose blobs lie in a folder: what it says, and how it ends."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli import run_replay
from archipel.cli.run_replay import replay
from archipel.lab.merge_story import MergeStory, Told
from archipel.work.kinds.merge import Merges
from work.asked import SOMEBODY
from work.outer_steps import NAME, OuterSteps, members, recipe_of, write_corpus


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a lab's folder, as far as blobs go."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, home: Path) -> MergeStory:
    """Three versions, the second with its memory; nothing is changed of it."""
    folder = tmp_path_factory.mktemp("run")
    run = OuterSteps(folder / "run", recipe_of(write_corpus(folder / "corpus")))
    merges, own, told = Merges(), members(2), []
    for version in range(4):
        if version:
            run.contribute(own)
        spec = run.merge_spec()
        told.append(Told(spec, run.publish(run.merge(merges)), SOMEBODY, None))
    config = next(file for file in run.opened.model if file.name == "config.json")
    run.blobs[config.blob.digest] = run.start / "config.json"
    for digest, path in run.blobs.items():
        name = digest.removeprefix("sha256:")
        place = home / "blobs" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    contributions = {each.work: each for inputs in run.inputs for each in inputs}
    heard = MergeStory(NAME, None, frozenset([SOMEBODY]), told, [], contributions)
    heard.hear(run.opened)
    return heard


@pytest.fixture
def ask(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command over a story, as if a ledger had told it: ledgers are read elsewhere."""

    def asked(story: MergeStory, *words: str) -> Result:
        monkeypatch.setattr(run_replay, "_heard", lambda *place: story)
        places = ["--home", str(home), "--scratch", str(tmp_path)]
        return CliRunner().invoke(replay, [NAME, *places, *words])

    return asked


def test_the_newest_version_is_made_again_from_the_memory_before_it(ask, story: MergeStory) -> None:
    done = ask(story)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0] == "version 3"
    assert [line.split()[:2] for line in done.output.splitlines()[1:]] == [
        [name, "equal"] for name in ("inputs", "verdicts", "weights")
    ]


def test_all_versions_are_made_again_from_the_first_weights(ask, story: MergeStory) -> None:
    done = ask(story, "--all", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [each["version"] for each in told["versions"]] == [1, 2, 3]
    stages = {stage["stage"] for each in told["versions"] for stage in each["stages"]}
    assert stages == {"inputs", "verdicts", "weights", "memory"}
    assert told["faults"] == []


def test_what_was_published_otherwise_is_unequal_and_ends_with_a_fault(
    ask, story: MergeStory
) -> None:
    second = story.versions[2]
    other = replace(
        second, answer=second.answer.model_copy(update={"policy": f"sha256:{'0' * 64}"})
    )
    lied = replace(story, versions=[*story.versions[:2], other, story.versions[3]])
    done = ask(lied, "--version", "2")
    assert done.exit_code != 0
    assert "weights   UNEQUAL" in done.output
    assert "verdicts  equal" in done.output
    assert "DOES NOT HOLD: version 3 does not name version 2 as its parent" in done.output
    assert "1 stage unequal, 1 thing that a lab should have refused" in str(done.exception)


def test_a_version_that_is_not_there_or_a_blob_that_is_gone_is_said(
    ask, story: MergeStory, home: Path
) -> None:
    assert "has versions 1 to 3 to make again, not 4" in str(ask(story, "--version", "4").exception)
    assert ask(story, "--version", "1", "--all").exit_code == 2
    name = story.contributions[f"{NAME}.5"].answer.payload.digest.removeprefix("sha256:")
    place = home / "blobs" / name[:2] / name[2:]
    data = place.read_bytes()
    place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        assert "other bytes than its name" in str(ask(story).exception)
        place.unlink()
        assert "it is not in" in str(ask(story).exception)
    finally:
        place.write_bytes(data)
