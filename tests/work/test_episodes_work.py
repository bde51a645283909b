"""Episodes between a node and the trusted role: the central loop's weights to the bit, and a liar that earns nothing."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.bench.central import Bench
from archipel.cli.findings import Findings
from archipel.cli.playing_again import check_episodes
from archipel.engine.engine import LocalEngine
from archipel.lab.run_story import RunStory
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.canonical import sha256_digest
from archipel.records.episodes import RETOLD, turns_of
from archipel.records.fields import BlobRef
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.records.statements import ModelFile
from archipel.training.curriculum import Curriculum
from archipel.training.episodes import conduct_of
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from archipel.work.kind import WorkFailed
from archipel.work.verifying import Regrading
from tiny import NAME
from training.parrot import Parrot
from work import asked
from work.played import (
    FORGETS,
    Played,
    chosen,
    recipe,
    retelling,
    stopping,
    teach,
    write_start,
)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_start(tmp_path / "start")


def altered(groups: list[list[Rollout]]) -> list[list[Rollout]]:
    """In each group, one answer of the environment that it did not give."""
    for group in groups:
        for number, one in enumerate(group):
            if len(turns := turns_of(one.sampled)) > 1:
                tokens = list(one.tokens)
                tokens[turns[0][1]] = 3 + tokens[turns[0][1]] % 60
                group[number] = replace(one, tokens=tuple(tokens))
                break
    return groups


def central(start: Path, of: Recipe) -> list[str]:
    """Digest of every version that one process makes."""
    tokenizer = Tokenizer.from_directory(start)
    model, environment = read_model(start), Parrot()
    engine: LocalEngine = our_engine(model.config, None)
    conduct = conduct_of(of, environment, tokenizer)
    bench = Bench(of, environment, tokenizer, model.config, {}, engine, None, conduct)
    trainer = Trainer(model, of)
    digests = [describe(trainer.published_state(), 0, None).state]

    def note(report) -> None:
        digests.append(describe(trainer.published_state(), 1, None).state)

    reinforce(trainer, bench.rehearsal(), note)
    return digests


WAYS = {"plain": recipe, "retelling": retelling, "chosen": chosen}


def begun(tmp_path: Path, way: str) -> Path:
    """Weights, and for one way a template that changes earlier turns."""
    folder = tmp_path / "start"
    if way == "retelling":
        return write_start(tmp_path / "retelling", retelling(), FORGETS)
    return folder if folder.exists() else write_start(folder)


@pytest.mark.parametrize(
    "way", ["plain", "retelling", pytest.param("chosen", marks=pytest.mark.slow)]
)
def test_a_node_and_the_trusted_role_make_the_central_loops_weights_bit_for_bit(
    tmp_path: Path, start: Path, way: str
) -> None:
    of, start = WAYS[way](), begun(tmp_path, way)
    made = Played(tmp_path / "made", start, of=of)
    assert made.run() == central(start, of)
    assert len(set(made.policies)) == 3, "something was learned"
    assert {each.get("void_episodes") for each in made.metrics[1:]} == {0}
    lengths = {len(turns_of(each.sampled)) for group in made.played for each in group}
    assert lengths >= {2, 3}
    retold = [RETOLD in each.sampled for group in made.played for each in group]
    assert any(retold) == (way == "retelling")
    assert not all(retold)
    groups = dict(enumerate(made.played, of.run.groups_per_update))
    if way == "chosen":
        pool = {
            task.index for task in map(Curriculum(of).over(Parrot()).task, ["train"] * 4, range(4))
        }
        assert pool != set(range(4)), "other tasks than those of the groups' numbers"
        return  # which ones the second batch has follows from the first
    with Regrading(of, None, start) as regrading:
        assert regrading.mean_micro(groups) == made.metrics[2]["reward_micro"]


def test_an_altered_answer_of_the_environment_is_void_and_named(
    tmp_path: Path, start: Path, caplog: pytest.LogCaptureFixture
) -> None:
    honest, liar = Played(tmp_path / "honest", start), Played(tmp_path / "liar", start, altered)
    with caplog.at_level(logging.WARNING, logger="archipel"):
        liar.run()
    honest.run()
    assert [each.get("void_episodes") for each in liar.metrics[1:]] == [4, 4]
    for group in range(8):
        assert f"{NAME}.1: group {group}, rollout " in caplog.text
    assert liar.metrics[1]["tokens"] < honest.metrics[1]["tokens"]
    groups = dict(enumerate(liar.played, liar.recipe.run.groups_per_update))
    with Regrading(liar.recipe, None, start) as regrading:
        assert regrading.mean_micro(groups) == liar.metrics[2]["reward_micro"]


class OnDisk:
    """Blobs of a run, as whoever verifies it has them."""

    def __init__(self, made: Played, start: Path) -> None:
        self.paths = dict(made.blobs)
        self.model = []
        for file in sorted(start.iterdir()):
            data = file.read_bytes()
            blob = BlobRef(digest=sha256_digest(data), size=len(data))
            self.paths[blob.digest] = file
            self.model.append(ModelFile(name=file.name, blob=blob))

    def read(self, blob: BlobRef) -> bytes:
        return self.paths[blob.digest].read_bytes()


@pytest.mark.parametrize(
    ("alter", "way"),
    [
        (altered, "plain"),
        (None, "plain"),
        pytest.param(altered, "retelling", marks=pytest.mark.slow),
        pytest.param(altered, "chosen", marks=pytest.mark.slow),
        pytest.param(None, "chosen", marks=pytest.mark.slow),
    ],
)
def test_anybody_finds_a_void_episode_from_ledger_and_blobs(
    tmp_path: Path,
    start: Path,
    alter: Callable[[list[list[Rollout]]], list[list[Rollout]]] | None,
    way: str,
) -> None:
    of, start = WAYS[way](), begun(tmp_path, way)
    made = Played(tmp_path / "made", start, alter or (lambda groups: groups), of)
    made.run()
    blobs, findings = OnDisk(made, start), Findings(lambda text: None)
    story = RunStory(NAME)
    context = stopping(asked.context(of, start, tmp_path))
    story.opened = context.opened.model_copy(update={"model": tuple(blobs.model)})
    (result,) = made.inputs[1]
    story.results = {result.work: result}
    check_episodes(story, story.opened, blobs, findings)
    if alter is altered:
        (fault,) = findings.faults
        said = f"{NAME}.1: 4 episodes say what the environment did not, first group 0, rollout "
        assert fault.startswith(said)
        assert fault.endswith(": they are void")
    else:
        assert findings.faults == []
        assert sum(findings.checked.values()) == 1


def test_rules_that_this_software_does_not_have_are_refused(start: Path, tmp_path: Path) -> None:
    made = Played(tmp_path / "made", start)
    node = made.node
    context = asked.context(recipe(), start, tmp_path)
    pace = context.opened.pace
    other = pace.model_copy(
        update={"episodes": pace.episodes.model_copy(update={"environment": "parrot-2"})}
    )
    told = context.model_copy(update={"opened": context.opened.model_copy(update={"pace": other})})
    with pytest.raises(WorkFailed, match=r"parrot-2.*plays"):
        node._conduct(made.spec(), told)


def test_a_template_that_does_not_append_stops_the_run_before_it_begins(
    tmp_path: Path, start: Path
) -> None:
    template = "{% for m in messages %}<bos>{{ m.content if loop.last else '' }}<eos>{% endfor %}"
    (start / "chat_template.jinja").write_text(template)
    made = Played(tmp_path / "made", start)
    with pytest.raises(WorkFailed, match="one growing sequence"):
        made.run()
