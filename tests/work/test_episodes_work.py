"""Episodes between a node and the trusted role: the central loop's weights to the bit, and a liar that earns nothing."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.bench.central import Bench
from archipel.engine.engine import LocalEngine
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.records import episodes
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.episodes import turns_of
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout, bounds_of, pack_rollouts, unpack_rollouts
from archipel.training.environments import environment as environments
from archipel.training.episodes import conduct_of
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from archipel.work.kind import Context, EngineChoice, WorkFailed
from archipel.work.kinds.rollout import Rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from archipel.work.verifying import Regrading
from tiny import NAME, tiny_recipe
from training.parrot import Parrot
from training.tiny_learner import tiny_model
from work import asked
from work.trusted import Trusted

torch.set_num_threads(1)
ENDS = [2, *range(10, 16)]
"""One token in nine ends a turn, so that an untrained model takes several."""


class InProcess:
    """A grader without a process of its own."""

    faults: dict = {}  # noqa: RUF012

    def grade(self, shown):
        return tuple(
            Parrot().judge(Parrot().task(each.split, each.index), each.turns, each.finished)
            for each in shown
        )

    def close(self):
        """Nothing to end."""


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments._ENVIRONMENTS, "parrot", (Parrot, lambda *_: Parrot()))
    monkeypatch.setitem(episodes.PLAYED, "parrot", "parrot-1")
    for room in ("learner", "verifying"):
        monkeypatch.setattr(f"archipel.work.{room}.grader_of", lambda recipe, secret: InProcess())


def recipe() -> Recipe:
    told = tiny_recipe(2, 0).model_dump()
    told["run"] |= {"group_size": 4, "anchor_every": 1}
    told["environment"] = {"name": "parrot"}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 24}
    return Recipe.model_validate(told | {"episode": {"turns": 3}, "supervised": None})


@pytest.fixture
def start(tmp_path: Path) -> Path:
    folder = tmp_path / "start"
    config = DecoderConfig.from_section(recipe().model, asked.TOKENIZER)
    model = tiny_model(3, **{**config.to_hf(), "head_dim": config.head_dim})
    write_model(folder, model, model.config, asked.TOKENIZER)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ENDS}))
    return folder


def stopping(context: Context) -> Context:
    """With the model's own end tokens in the pace."""
    pace = context.opened.pace.model_copy(update={"stop_tokens": tuple(ENDS)})
    return context.model_copy(update={"opened": context.opened.model_copy(update={"pace": pace})})


class Played(Trusted):
    """A trusted role whose batches a node plays, from the weights that were published."""

    def __init__(self, folder: Path, start: Path, alter=lambda groups: groups) -> None:
        folder.mkdir()
        super().__init__(folder, start, recipe())
        self.node, self.alter = Rollouts(EngineChoice()), alter
        self.metrics: list[dict[str, int]] = []

    def context(self, memory: str, position: int) -> Context:
        return stopping(super().context(memory, position))

    def run(self) -> list[str]:
        updates = Updates()
        try:
            for _ in range(self.recipe.run.versions + 1):
                answer = self.ask(updates, "memory")
                files = answer.files
                self.link = LinkMessage(
                    version=len(self.policies), policy=answer.values["policy"],
                    manifest=files["manifest"], anchor=files["anchor"], delta=None,
                )  # fmt: skip
                told = [path for name, path in files.items() if name.startswith("prompts-")]
                self.prompt_file = told[0] if told else None
                self.metrics.append(answer.values["metrics"])
                self.accept(answer)
        finally:
            updates.close()
        return self.policies

    def _sampled(self, batch: int) -> AcceptedWork:
        run, data = self.recipe.run, self.prompt_file.read_bytes()
        prompts = BlobRef(digest=sha256_digest(data), size=len(data))
        groups = tuple(range(batch * run.groups_per_update, (batch + 1) * run.groups_per_update))
        spec = RolloutSpec(
            run=NAME, version=batch, policy=self.policies[-1], groups=groups, prompts=(prompts,)
        )
        given = {"chain": (self.link,), "blobs": {prompts.digest: self.prompt_file}}
        context = stopping(asked.context(self.recipe, self.start, self.folder, **given))
        answer = self.node.run(spec, context, lambda tokens: None)
        pace = context.opened.pace
        bounds = bounds_of(pace, work=context.work, policy=spec.policy, num_groups=len(groups))
        self.played = unpack_rollouts(answer.files["rollouts"].read_bytes(), bounds)
        assert answer.values["num_tokens"] == sum(
            each.num_sampled for group in self.played for each in group
        )
        self.played = self.alter(self.played)
        packed = pack_rollouts(self.played, work=context.work, policy=spec.policy)
        blob = self._kept(f"result-{batch}", packed)
        words = RolloutAnswer(
            policy=spec.policy, result=blob, num_tokens=answer.values["num_tokens"], busy_ms=1
        )
        return AcceptedWork(work=context.work, spec=spec, answer=words)


def central(start: Path) -> list[str]:
    """Digest of every version that one process makes."""
    of, tokenizer = recipe(), Tokenizer.from_directory(start)
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


def test_a_node_and_the_trusted_role_make_the_central_loops_weights_bit_for_bit(
    tmp_path: Path, start: Path
) -> None:
    made = Played(tmp_path / "made", start)
    assert made.run() == central(start)
    assert len(set(made.policies)) == 3, "something was learned"
    assert {each.get("void_episodes") for each in made.metrics[1:]} == {0}
    lengths = {len(turns_of(each.sampled)) for group in made.played for each in group}
    assert lengths >= {2, 3}


def test_an_altered_answer_of_the_environment_is_void_and_named(
    tmp_path: Path, start: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def alter(groups: list[list[Rollout]]) -> list[list[Rollout]]:
        for group in groups:
            for number, one in enumerate(group):
                if len(turns := turns_of(one.sampled)) > 1:
                    tokens = list(one.tokens)
                    tokens[turns[0][1]] = 3 + tokens[turns[0][1]] % 60
                    group[number] = replace(one, tokens=tuple(tokens))
                    break
        return groups

    honest, liar = Played(tmp_path / "honest", start), Played(tmp_path / "liar", start, alter)
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
        node._conduct(told)


def test_a_template_that_does_not_append_stops_the_run_before_it_begins(
    tmp_path: Path, start: Path
) -> None:
    template = "{% for m in messages %}<bos>{{ m.content if loop.last else '' }}<eos>{% endfor %}"
    (start / "chat_template.jinja").write_text(template)
    made = Played(tmp_path / "made", start)
    with pytest.raises(WorkFailed, match="one growing sequence"):
        made.run()
