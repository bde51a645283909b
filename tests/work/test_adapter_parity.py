"""At staleness 0 a run by the kinds of work equals the loop in one process, bit for bit: of an adapter, in less memory."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.bench.central import Bench
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import MemorySection, Recipe
from archipel.records.recipe_model import AdapterSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.judgement import Judgement
from archipel.training.grading import Submission
from archipel.training.rl import reinforce
from archipel.training.start import initial_model
from archipel.training.trainer import Trainer
from archipel.work import learner
from archipel.work.bases import read_base
from archipel.work.engines import our_engine
from archipel.work.kind import Answer, EngineChoice
from archipel.work.kinds.rollout import Rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from tiny import NAME, SECRET, tiny_recipe
from work import asked
from work.asked import TOKENIZER
from work.trusted import Trusted, recipe_of

torch.set_num_threads(1)
VERSIONS = 3


class Payer:
    """Grades in this process, by the text alone: random weights would earn nothing of a real environment."""

    def __init__(self) -> None:
        self.faults = Counter[str]()

    def grade(self, shown: Sequence[Submission]) -> list[float]:
        return [each.reward for each in self.graded(shown)]

    def graded(self, shown: Sequence[Submission]) -> list[Judgement]:
        return [Judgement(len(set(each.completion)) % 4 / 3) for each in shown]

    def close(self) -> None:
        pass


class Sampling(Trusted):
    """A lab whose batches are really sampled, by a node that follows what is published."""

    def __init__(self, folder: Path, start: Path, recipe: Recipe) -> None:
        super().__init__(folder, start, recipe)
        self._links: list[LinkMessage] = []
        self._node = Rollouts(EngineChoice())

    def accept(self, answer: Answer) -> None:
        version = len(self.policies)
        files = {}
        for name in ("manifest", "anchor", "delta"):
            files[name] = self.folder / f"published-{version}-{name}"
            given = answer.files.get(name)
            files[name] = None if given is None else files[name]
            if given is not None:
                files[name].write_bytes(given.read_bytes())
        policy = answer.values["policy"]
        self._links.append(LinkMessage(version=version, policy=policy, **files))
        for name, path in answer.files.items():
            if name.startswith("prompts-"):
                self._kept(name, path.read_bytes())
        super().accept(answer)

    def _sampled(self, batch: int) -> AcceptedWork:
        work, policy, run = f"{NAME}.{batch + 2}", self.policies[-1], self.recipe.run
        data = (self.folder / f"prompts-{batch}").read_bytes()
        prompts = self._kept(f"prompts-{batch}", data)
        size = run.groups_per_update
        indices = tuple(range(batch * size, (batch + 1) * size))
        spec = RolloutSpec(
            run=NAME, version=batch, policy=policy, groups=indices, prompts=(prompts,)
        )
        context = asked.context(
            self.recipe,
            self.start,
            self.folder,
            chain=tuple(self._links),
            blobs=self.blobs,
            work=work,
        )
        made = self._node.run(spec, context, lambda tokens: None)
        blob = self._kept(f"result-{batch}", made.files["rollouts"].read_bytes())
        answer = RolloutAnswer(
            policy=policy, result=blob, num_tokens=made.values["num_tokens"], busy_ms=1
        )
        return AcceptedWork(work=work, spec=spec, answer=answer)


def _central(recipe: Recipe, start: Path) -> list[str]:
    base = read_base(start)
    environment = make_environment(recipe.environment, recipe.run.seed, SECRET)
    bench = Bench(
        recipe, environment, TOKENIZER, base.config, dict(base.state), our_engine(base.config, None), Payer()
    )  # fmt: skip
    trainer, digests = Trainer(read_model(start), recipe), []

    def note(_: object = None) -> None:
        digests.append(describe(trainer.published_state(), 0, None, trainer.over).state)

    note()
    reinforce(trainer, bench.rehearsal(), note)
    return digests


ALL = {
    "compute": "bfloat16",
    "recompute_layers": True,
    "moments": "8bit",
    "offload": True,
}
WAYS: dict[str, dict[str, Any]] = {
    "adapter": {"adapter": AdapterSection(rank=4, alpha=8.0)},
    "all": {"memory": MemorySection.model_validate(ALL)},
    "all, adapter": {
        "memory": MemorySection.model_validate(ALL),
        "adapter": AdapterSection(rank=8, alpha=8.0),
    },
    **{
        name: {"memory": MemorySection.model_validate({name: value})} for name, value in ALL.items()
    },
}
"""Sections of the recipe."""
FAST = ("adapter", "all")


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=() if way in FAST else pytest.mark.slow) for way in WAYS]
)
def test_a_run_by_update_and_node_equals_the_central_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(learner, "grader_of", lambda *_: Payer())
    start = tmp_path / "start"
    model = initial_model(tiny_recipe(1, 0), TOKENIZER)
    write_model(start, model, model.config, TOKENIZER)
    recipe = recipe_of(checkpoint_every=100, versions=VERSIONS)
    recipe = recipe.model_copy(update=WAYS[way])
    before = {file.name: file.read_bytes() for file in start.iterdir()}
    lab, kind = Sampling(tmp_path, start, recipe), Updates()
    for _ in range(VERSIONS + 1):
        lab.accept(lab.ask(kind, "memory"))
    kind.close()
    assert lab.policies == _central(recipe, start)
    assert len(set(lab.policies)) == VERSIONS + 1
    assert {file.name: file.read_bytes() for file in start.iterdir()} == before
