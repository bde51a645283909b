"""A run of a mixture of experts between a node and the trusted role in one process: choices travel and are taken again."""

from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.node.opening import vocabulary_of
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import Recipe
from archipel.work.kind import EngineChoice, MachineUnfit
from archipel.work.kinds.rollout import Rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from archipel.work.readiness import shortcomings
from tiny import NAME, SECRET, tiny_recipe
from work import asked
from work.trusted import Trusted

torch.set_num_threads(1)


def recipe(**sections: dict[str, Any]) -> Recipe:
    told = tiny_recipe(1, 0).model_dump()
    told["run"] |= {"anchor_every": 1}
    told["sampling"] |= {"replays_routing": True}
    told["model"] |= {"family": "qwen3_moe", "num_experts": 6, "num_layers": 1}
    for name, changes in sections.items():
        told[name] = (told.get(name) or {}) | changes
    return Recipe.model_validate(told)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    config = DecoderConfig.from_section(recipe().model, asked.TOKENIZER)
    model = random_weights(config, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "gate.weight" not in name:
                parameter.mul_(12.0)
    write_model(tmp_path / "start", model, config, asked.TOKENIZER)
    return tmp_path / "start"


class Routed(Trusted):
    """A trusted role whose batches a node samples, in bf16, from the weights that were published."""

    def __init__(self, folder: Path, start: Path) -> None:
        folder.mkdir()
        super().__init__(folder, start, recipe())
        self.node = Rollouts(EngineChoice(dtype="bfloat16"))

    def run(self) -> list[dict[str, int]]:
        updates, told = Updates(), []
        try:
            for _ in range(self.recipe.run.versions + 1):
                answer = self.ask(updates, "memory")
                files = answer.files
                self.link = LinkMessage(
                    version=len(self.policies), policy=answer.values["policy"],
                    manifest=files["manifest"], anchor=files["anchor"], delta=None,
                )  # fmt: skip
                prompts = [path for name, path in files.items() if name.startswith("prompts-")]
                self.prompt_file = prompts[0] if prompts else None
                told.append(answer.values["metrics"])
                self.accept(answer)
        finally:
            updates.close()
        return told

    def _sampled(self, batch: int) -> AcceptedWork:
        run, data = self.recipe.run, self.prompt_file.read_bytes()
        prompts = BlobRef(digest=sha256_digest(data), size=len(data))
        groups = tuple(range(batch * run.groups_per_update, (batch + 1) * run.groups_per_update))
        spec = RolloutSpec(
            run=NAME, version=batch, policy=self.policies[-1], groups=groups, prompts=(prompts,)
        )
        given = {"chain": (self.link,), "blobs": {prompts.digest: self.prompt_file}}
        context = asked.context(self.recipe, self.start, self.folder, **given)
        answer = self.node.run(spec, context, lambda tokens: None)
        blob = self._kept(f"result-{batch}", answer.files["rollouts"].read_bytes())
        words = RolloutAnswer(
            policy=spec.policy, result=blob, num_tokens=answer.values["num_tokens"], busy_ms=1
        )
        return AcceptedWork(work=context.work, spec=spec, answer=words)


@pytest.mark.slow
def test_what_a_node_chose_reaches_the_trainer_and_the_versions_metrics(
    tmp_path: Path, start: Path
) -> None:
    first, second = Routed(tmp_path / "run", start).run()
    assert not any(name.startswith("router") for name in first)
    # All but the last layer's of prompts, which nothing depends on.
    assert second["router_replayed_fraction_micro"] > 600_000
    assert second["router_implausible_fraction_micro"] == 0
    assert second["router_entropy_micro"] > 0
    assert sum(value for name, value in second.items() if name.endswith("_load_micro")) > 999_000


def test_an_engine_that_does_not_say_is_this_machines_fault(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archipel.work.kinds import rollout as kind

    def silent(*arguments: Any) -> Any:
        groups = sampled(*arguments)
        return [
            tuple(each.__class__(each.tokens, each.logprobs, each.finished) for each in group)
            for group in groups
        ]

    sampled = kind.sample
    monkeypatch.setattr(kind, "sample", silent)
    with pytest.raises(MachineUnfit, match="does not say which experts"):
        Routed(tmp_path / "run", start).run()


def test_a_lab_is_told_of_a_models_experts(start: Path) -> None:
    context = recipe().model.max_position_embeddings
    terms = ExpertTerms(layers=1, count=6, chosen=2, prompt_tokens=context)
    assert vocabulary_of(start).experts == terms == asked.experts_of(recipe())


def test_replay_and_adapters_of_what_a_model_has_not_are_refused_before_a_run_opens(
    start: Path,
) -> None:
    (fault,) = shortcomings(recipe(model={"family": "qwen3"}), None, SECRET)
    assert "replays_routing is for mixtures of experts" in fault
    (fault,) = shortcomings(recipe(adapter={"rank": 2}), start, SECRET)
    assert "gate_proj" in fault
    assert "'q_proj', 'k_proj', 'v_proj', 'o_proj'" in fault
    targets = ("q_proj", "v_proj")
    assert shortcomings(recipe(adapter={"rank": 2, "targets": targets}), start, SECRET) == []
