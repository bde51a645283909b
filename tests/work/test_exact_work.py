"""Work of an exact run: by the contract whatever was chosen, named in the answer, or not at all."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.manifest import describe
from archipel.model.network import random_weights
from archipel.model.versions import encode_anchor
from archipel.records.canonical import sha256_digest
from archipel.records.exact import CONTRACTS
from archipel.records.fields import BlobRef
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.prompts import pack_prompts
from archipel.records.recipe import Recipe
from archipel.records.rollouts import bounds_of, unpack_rollouts
from archipel.training.environments.environment import make_environment
from archipel.work.benchmark import measure_engine
from archipel.work.engines import make_engine, our_engine
from archipel.work.judging import Trial, judge
from archipel.work.kind import Answer, EngineChoice, WorkFailed
from archipel.work.kinds import make_kind
from archipel.work.messages import LinkMessage
from tiny import BATCH, SECRET, tiny_recipe
from work import asked

PLAIN = tiny_recipe(1, 0)
CONFIG = DecoderConfig.from_section(PLAIN.model, asked.TOKENIZER)
STATE = {
    name: tensor.detach().to(torch.bfloat16)
    for name, tensor in random_weights(CONFIG, 0).named_parameters()
}
MANIFEST = describe(STATE, 0, None)
BF16 = EngineChoice(dtype="bfloat16")


def recipe(variant: str | None) -> Recipe:
    sampling = {"max_new_tokens": 6}
    if variant is not None:
        sampling |= {"engine": "exact", "variant": variant}
    return Recipe.model_validate(PLAIN.model_dump() | {"sampling": sampling})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", STATE, CONFIG, asked.TOKENIZER)
    return tmp_path / "model"


def worked(
    kind: str, of: Recipe, model: Path, choice: EngineChoice, *, groups: tuple[int, ...] = (0, 1)
) -> Answer:
    folder = model.parent
    prompts = pack_prompts([(1, 10, 11, 12)] * BATCH, batch=0)
    files = {"manifest": MANIFEST.to_bytes(), "anchor": encode_anchor(STATE), "prompts": prompts}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    link = LinkMessage(
        version=0, policy=MANIFEST.state, manifest=folder / "manifest",
        anchor=folder / "anchor", delta=None,
    )  # fmt: skip
    ref = BlobRef(digest=sha256_digest(prompts), size=len(prompts))
    given: dict[str, Any] = {"chain": (link,), "recipe": of.canonical_bytes(), "secret": SECRET}
    scratch = Path(tempfile.mkdtemp(dir=folder))
    context = asked.context(of, model, scratch, **given, blobs={ref.digest: folder / "prompts"})
    named = {"run": of.run.name, "version": 0, "policy": MANIFEST.state}
    spec = (
        EvaluateSpec(**named)
        if kind == "evaluate"
        else RolloutSpec(**named, groups=groups, prompts=(ref,))
    )
    made = make_kind(kind, choice)
    try:
        return made.run(spec, context, lambda tokens: None)
    finally:
        made.close()


@pytest.mark.parametrize("variant", CONTRACTS)
def test_rollouts_of_an_exact_run_do_not_depend_on_the_operators_choice(
    variant: str, model: Path
) -> None:
    of = recipe(variant)
    answers = [worked("rollout", of, model, choice) for choice in (EngineChoice(), BF16)]
    packed = [answer.files["rollouts"].read_bytes() for answer in answers]
    assert packed[0] == packed[1]
    assert answers[0].values["exact"] == CONTRACTS[variant]
    pace = asked.opened(of).pace
    bounds = bounds_of(pace, work="tiny.1", policy=MANIFEST.state, num_groups=2)  # type: ignore[arg-type]
    together = unpack_rollouts(packed[0], bounds)
    alone = worked("rollout", of, model, BF16, groups=(1,)).files["rollouts"].read_bytes()
    bounds = bounds_of(pace, work="tiny.1", policy=MANIFEST.state, num_groups=1)  # type: ignore[arg-type]
    assert unpack_rollouts(alone, bounds) == together[1:]


def test_a_plain_run_says_nothing_and_samples_by_what_was_chosen(model: Path) -> None:
    plain = worked("rollout", recipe(None), model, EngineChoice())
    exact = worked("rollout", recipe("w7a8"), model, EngineChoice())
    assert "exact" not in plain.values
    assert b'"exact"' not in plain.files["rollouts"].read_bytes()
    assert b'"exact"' in exact.files["rollouts"].read_bytes()


def test_an_engine_that_does_not_compute_by_it_gives_the_work_back(model: Path) -> None:
    for name in ("transformers", "vllm"):
        with pytest.raises(WorkFailed, match=f"{name} does not; start this machine with --engine"):
            worked("rollout", recipe("w7a8"), model, EngineChoice(name=name))  # type: ignore[arg-type]
        told = measure_engine(EngineChoice(name=name))  # type: ignore[arg-type]
        assert told["exact"] == []
        assert name in told["not_exact"][0]


def test_a_contract_of_another_release_is_not_guessed(model: Path) -> None:
    unknown = "exact-2-w7a8-0123456789abcdef"
    with pytest.raises(WorkFailed, match=rf"{unknown} is no exact contract of this software"):
        make_engine(model, STATE, EngineChoice(), unknown)


def test_a_node_measures_what_it_can() -> None:
    told = measure_engine(EngineChoice())
    assert told["exact"] == list(CONTRACTS.values())


def test_an_evaluation_of_an_exact_run_says_by_what(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.work.judging.grader_of", lambda recipe, secret: Here())
    answer = worked("evaluate", recipe("w7a15"), model, BF16)
    assert answer.values["exact"] == CONTRACTS["w7a15"]
    assert json.loads(answer.files["report"].read_text())["exact"] == CONTRACTS["w7a15"]


def test_a_model_is_judged_by_the_contract_that_was_asked_for_or_the_recipes(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.work.judging.grader_of", lambda recipe, secret: Here())
    trial = Trial(4)
    assert judge(model, recipe(None), SECRET, trial).contract is None
    assert judge(model, recipe("w7a8"), SECRET, trial).contract == CONTRACTS["w7a8"]
    asked_for = Trial(4, contract=CONTRACTS["w13a15"])
    assert judge(model, recipe("w7a8"), SECRET, asked_for).contract == CONTRACTS["w13a15"]
    assert isinstance(our_engine(CONFIG, CONTRACTS["w7a8"])._capacity.arithmetic, ExactArithmetic)


class Here:
    """Grades in this process: the answers are those of a tiny model."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self._environment = make_environment(PLAIN.environment, PLAIN.run.seed, SECRET)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def grade(self, shown: Any) -> list[float]:
        task = self._environment.task
        return [
            self._environment.grade(task(each.split, each.index), each.completion, each.finished)
            for each in shown
        ]
