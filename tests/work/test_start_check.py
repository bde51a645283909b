"""No run goes on whose sampling engine computes another model than its trainer learns from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.engine.engine import LocalEngine
from archipel.engine.exact.variants import VARIANTS
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, Family
from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe_model import AdapterSection
from archipel.records.requests import Request
from archipel.work import engines, start_check
from archipel.work.agreement import (
    EXACT,
    FEWEST_PROMPT_TOKENS,
    FLOATS,
    MAX_PROMPTS,
    MAX_WORK,
    compared,
    reference,
    short_requests,
)
from archipel.work.bases import Ground, read_base
from archipel.work.engines import our_engine
from archipel.work.faults import failed
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed
from archipel.work.kinds import rollout as rollouts
from archipel.work.kinds.update import Updates
from archipel.work.readiness import shortcomings
from archipel.work.start_check import Subject, at_start
from engine.engine_models import each_family, lively_state, small_config
from tiny import SECRET, tiny_recipe
from work.first_work import first_work
from work.trusted import Trusted

TEMPERATURE = 0.5


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    folder = tmp_path_factory.mktemp("start") / "model"
    write_model(folder, lively_state(config), config, tokenizer)
    return folder


def first(vocabulary: int, count: int = 4, length: int = 20) -> list[Request]:
    return [
        Request(
            str(index),
            tuple((7 * index + 3 * place) % vocabulary for place in range(length)),
            index,
            num_rollouts=8,
            max_new_tokens=40,
            temperature=TEMPERATURE,
        )
        for index in range(count)
    ]


class _Hotter:
    """Ignores the temperature."""

    def __init__(self, config: DecoderConfig, **how: Any) -> None:
        self._engine = LocalEngine(config, **how)
        self.load = self._engine.load

    def generate(self, requests: Sequence[Request], on_progress: object = None) -> Any:
        return self._engine.generate([replace(each, temperature=1.0) for each in requests])


MISTAKES: dict[str, Callable[..., Any]] = {
    "rope": lambda config, **how: LocalEngine(replace(config, rope_theta=1e6), **how),
    "epsilon": lambda config, **how: LocalEngine(replace(config, norm_epsilon=1e-5), **how),
    "temperature": _Hotter,
}


@pytest.mark.parametrize("family", each_family())
def test_honest_engines_of_every_family_agree_with_the_trainer(family: Family) -> None:
    config = small_config(family)
    state = lively_state(config)
    scorer = reference(config, state, TEMPERATURE)
    requests = short_requests(first(config.vocab_size), 100_000)
    honest = [(LocalEngine(config, dtype=getattr(torch, name)), FLOATS[name]) for name in FLOATS]
    if family in EXACT_FAMILIES:
        honest += [(our_engine(config, VARIANTS[name].identity), EXACT[name]) for name in EXACT]
    else:
        with pytest.raises(WorkFailed, match="exact contract describes"):
            our_engine(config, VARIANTS["w7a8"].identity)
    for engine, tolerance in honest:
        engine.load(state)
        assert compared(engine, scorer, requests).fault(tolerance, TEMPERATURE) is None


def test_every_variant_of_the_contract_has_a_tolerance() -> None:
    assert EXACT.keys() == VARIANTS.keys()


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("family", each_family())
def test_an_engine_with_a_mistake_is_found_out(family: Family, mistake: str) -> None:
    # Multipliers would make a norm's epsilon or a logit's error small.
    plain = {"embedding_multiplier": 1.0, "logits_scaling": 1.0}
    config = replace(small_config(family), norm_epsilon=1e-6, **plain)  # type: ignore[arg-type]
    state = lively_state(config)
    engine = MISTAKES[mistake](config)
    engine.load(state)
    requests = short_requests(first(config.vocab_size), 100_000)
    found = compared(engine, reference(config, state, TEMPERATURE), requests)
    fault = found.fault(FLOATS["float32"], TEMPERATURE)
    assert fault is not None
    assert f"{found.mean:.2g} nats in the mean" in fault
    assert "expected at most 0.0002 and 0.01" in fault


def test_what_is_compared_is_bounded_by_the_size_of_the_model() -> None:
    requests = first(64, count=9, length=5000)
    small = short_requests(requests, 400_000)
    assert [each.prompt for each in small] == [each.prompt for each in requests[:MAX_PROMPTS]]
    for parameters in (1, 10**7, 10**8, 10**9, 10**10):
        short = short_requests(requests, parameters)
        tokens = sum(len(each.prompt) + each.num_rollouts * each.max_new_tokens for each in short)
        assert tokens * parameters <= MAX_WORK
        assert bool(short) == (parameters < 10**9)
        assert all(len(each.prompt) >= FEWEST_PROMPT_TOKENS for each in short)


@pytest.mark.parametrize("mistake", ["rope", "epsilon"])
def test_no_run_opens_and_no_version_0_comes_out_with_a_broken_engine(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    recipe = tiny_recipe(3, 0)
    assert shortcomings(recipe, start, SECRET) == []
    broken = MISTAKES[mistake]
    monkeypatch.setattr(start_check, "our_engine", lambda config, contract: broken(config))
    (found,) = shortcomings(recipe, start, SECRET)
    assert "is not what the trainer learns from: over" in found
    trusted, updates = Trusted(tmp_path, start, recipe), Updates()
    with pytest.raises(WorkFailed, match="is not what the trainer learns from: over"):
        trusted.ask(updates, "memory")


def test_a_node_with_a_broken_engine_answers_for_no_run_and_says_it_is_the_machine(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, context = first_work(tiny_recipe(3, 0), start, tmp_path)
    node = rollouts.make(EngineChoice())
    assert node.run(spec, context, lambda tokens: None).values["num_tokens"] > 0
    broken = MISTAKES["epsilon"]
    monkeypatch.setattr(engines, "LocalEngine", lambda config, **how: broken(config, **how))
    node = rollouts.make(EngineChoice())
    for _ in range(2):
        with pytest.raises(MachineUnfit, match="engine archipel does not compute") as caught:
            node.run(spec, context, lambda tokens: None)
    assert failed(caught.value).fault == "machine"


def test_an_adapter_is_compared_as_it_lies_over_its_base(start: Path) -> None:
    form = AdapterSection(rank=4, alpha=8.0).form
    ground = Ground(read_base(start), form)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: (torch.randn(shape, generator=generator) * 0.3).bfloat16()
        for name, shape in adapter_shapes(ground.base.config, form).items()
    }
    subject = Subject(ground.base.config, ground.base.state, Adapter(form, state))
    requests = first(subject.config.vocab_size, length=6)
    assert at_start(subject, None, requests) is not None
    doubled = Adapter(AdapterSection(rank=4, alpha=16.0).form, state)
    temperature = requests[0].temperature
    scorer = reference(subject.config, subject.state, temperature, doubled)
    with pytest.raises(WorkFailed, match="is not what the trainer learns from"):
        at_start(replace(subject, scorer=scorer), None, requests)


def test_an_adapters_run_publishes_version_0_and_its_node_answers(
    start: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(3, 0).model_copy(update={"adapter": AdapterSection(rank=4)})
    assert shortcomings(recipe, start, SECRET) == []
    spec, context = first_work(recipe, start, tmp_path)
    node = rollouts.make(EngineChoice())
    assert node.run(spec, context, lambda tokens: None).values["num_tokens"] > 0
