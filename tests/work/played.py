"""A run of episodes between a node and the trusted role in one process, with a model that nobody trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.records import episodes
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import Recipe
from archipel.records.rollouts import bounds_of, pack_rollouts, unpack_rollouts
from archipel.training.environments import environment as environments
from archipel.training.environments.judgement import Judgement
from archipel.work.kind import Context, EngineChoice
from archipel.work.kinds.rollout import Rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
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

    def graded(self, shown):
        return tuple(Judgement(reward) for reward in self.grade(shown))

    def grade(self, shown):
        return tuple(
            Parrot().reward(Parrot().task(each.split, each.index), each.turns, each.finished)
            for each in shown
        )

    def close(self):
        """Nothing to end."""


def teach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The software a further environment, graded without a process of its own."""
    monkeypatch.setitem(environments._ENVIRONMENTS, "parrot", (Parrot, lambda *_: Parrot()))
    monkeypatch.setitem(episodes.PLAYED, "parrot", "parrot-1")
    for room in ("learner", "verifying"):
        monkeypatch.setattr(f"archipel.work.{room}.grader_of", lambda *_: InProcess())


def recipe() -> Recipe:
    told = tiny_recipe(2, 0).model_dump()
    told["run"] |= {"group_size": 4, "anchor_every": 1}
    told["environment"] = {"name": "parrot"}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 24}
    return Recipe.model_validate(told | {"episode": {"turns": 3}, "supervised": None})


def write_start(folder: Path, of: Recipe | None = None, template: str | None = None) -> Path:
    """Untrained weights, with many end tokens."""
    config = DecoderConfig.from_section((of or recipe()).model, asked.TOKENIZER)
    model = tiny_model(3, **{**config.to_hf(), "head_dim": config.head_dim})
    tokenizer = replace(asked.TOKENIZER, chat_template=template)
    write_model(folder, model, model.config, tokenizer)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ENDS}))
    return folder


def stopping(context: Context) -> Context:
    """With the model's own end tokens in the pace."""
    pace = context.opened.pace.model_copy(update={"stop_tokens": tuple(ENDS)})
    return context.model_copy(update={"opened": context.opened.model_copy(update={"pace": pace})})


FORGETS = (
    "{% for m in messages %}<bos>{{ m.role[0] }}:"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('a')[-1].split('e')[-1] }}"
    "{{ '' if m.role == 'assistant' and m.content[-1:] in 'hijklm' else '<eos>' }}"
    "{% endfor %}{% if add_generation_prompt %}<bos>a:{% endif %}"
)
"""A chat template by which a turn loses what it said up to certain letters, once another follows."""


def retelling() -> Recipe:
    """By such a template, which goes on as a new sample."""
    told = recipe().model_dump()
    told["model"] |= {"max_position_embeddings": 128}
    told["sampling"] |= {"max_new_tokens": 90}
    told["prompt"] |= {"system": "s"}
    told["episode"] |= {"rewritten": "new_sample"}
    return Recipe.model_validate(told)


def chosen() -> Recipe:
    """Tasks of a pool, chosen by what was learned."""
    told = recipe().model_dump()
    return Recipe.model_validate(told | {"curriculum": {"pool": 13, "fresh": 0.25}})


class Played(Trusted):
    """A trusted role whose batches a node plays, from the weights that were published."""

    def __init__(
        self, folder: Path, start: Path, alter=lambda groups: groups, of: Recipe | None = None
    ) -> None:
        folder.mkdir()
        super().__init__(folder, start, of or recipe())
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
        self._kept(f"prompts-{batch}", data)
        blob = self._kept(f"result-{batch}", packed)
        words = RolloutAnswer(
            policy=spec.policy, result=blob, num_tokens=answer.values["num_tokens"], busy_ms=1
        )
        return AcceptedWork(work=context.work, spec=spec, answer=words)
