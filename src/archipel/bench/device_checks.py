"""The checks of `archipel bench device`: do engine, trainer and adapters on it compute what the processor computes?

Parts: `Finding`; `engine_findings`, `trainer_findings`, `exact_finding`. The models are small and lively, so that a
mistake shows; the reference is always the trainer's network in fp32 on the processor.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from archipel.bench.contestants import Dtype
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.proof import prove
from archipel.engine.noise import random_tokens
from archipel.engine.protocol import Sampler
from archipel.engine.selftest import self_test
from archipel.model.adapter import Adapter, adapter_shapes, single_targets
from archipel.model.config import DecoderConfig, Experts, Family
from archipel.model.devices import ready_device
from archipel.model.families import TRAITS
from archipel.model.manifest import describe
from archipel.model.network import Decoder, random_weights
from archipel.plurals import counted
from archipel.records.adapter import AdapterForm
from archipel.records.recipe import Recipe
from archipel.records.recipe_model import AdapterSection
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.trainer import Trainer
from archipel.work.agreement import FLOATS, compared, reference
from archipel.work.seats import WithAdapter

ADAPTER = "checked"
SECTION = AdapterSection(rank=4, alpha=16.0)
GROUPS, ROLLOUTS, NEW_TOKENS = 4, 8, 24
SPREAD = 0.05
"""Standard deviation of what is added to fresh weights, so that a different context gives different tokens."""
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    held: bool
    needed: bool
    """Whether a run on this device is wrong where it does not hold."""
    said: str
    figures: Mapping[str, float] = field(default_factory=dict)


def engine_findings(device: str, family: Family, dtype: Dtype) -> Iterator[Finding]:
    """Agreement with the trainer's network, with and without an adapter; batch invariance."""
    config, state = small(family)
    engine = LocalEngine(config, dtype=getattr(torch, dtype), device=device)
    engine.load(state)
    name = f"{family} {dtype}"
    yield _agreement(f"engine agrees with the trainer, {name}", engine, config, state, None, dtype)
    yield _invariance(f"batch invariance, {name}", engine, config)
    form = _form(config)
    adapter = Adapter(form, _lively_adapter(config, form))
    engine.adapt(ADAPTER, adapter)
    adapted = WithAdapter(engine, ADAPTER)
    yield _agreement(f"the same of an adapter, {name}", adapted, config, state, adapter, dtype)


def trainer_findings(device: str, versions: int) -> Iterator[Finding]:
    """A run in lock step twice, whole weights and an adapter; one update beside the processor's."""
    for section in (None, SECTION):
        recipe = _recipe(versions, section)
        kind = "whole weights" if section is None else "an adapter"
        first, again = (_lock_step(device, recipe) for _ in range(2))
        yield Finding(
            f"S = 0 twice gives the same weights, {kind}",
            held=first == again,
            needed=True,
            said=f"{counted(versions, 'version')}, {first[:19]} and {again[:19]}",
        )
        yield _beside_the_processor(device, recipe, kind)


def exact_finding(device: str) -> Finding:
    """Which exact contracts give their known vectors there."""
    proof = prove(device)
    said = f"{counted(len(proof.contracts), 'contract')} proven"
    if proof.faults:
        said += f"; {proof.faults[0]}"
    return Finding("exact contracts", held=bool(proof.contracts), needed=False, said=said)


def small(family: Family) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """A model of 0.1 million parameters and its bf16 weights, the same on every machine."""
    experts = Experts(6, 2, 96, normalised=True) if TRAITS[family].has_experts else None
    config = DecoderConfig(family, 96, 64, 2, 4, 2, 16, 96, 512, experts=experts)
    model = random_weights(config, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * SPREAD)
    return config, {name: each.detach().bfloat16() for name, each in model.state_dict().items()}


def _form(config: DecoderConfig) -> AdapterForm:
    """Beside every layer where this family has one."""
    has = single_targets(config)
    targets = tuple(each for each in SECTION.targets if each in has)
    return SECTION.model_copy(update={"targets": targets}).form


def _lively_adapter(config: DecoderConfig, form: AdapterForm) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: (torch.randn(shape, generator=generator) * SPREAD).bfloat16()
        for name, shape in sorted(adapter_shapes(config, form).items())
    }


def _requests(config: DecoderConfig, first: int = 0) -> list[Request]:
    return [
        Request(
            str(first + n),
            random_tokens(3, first + n, 5 + 7 * n, config.vocab_size),
            first + n,
            ROLLOUTS,
            NEW_TOKENS,
        )
        for n in range(GROUPS)
    ]


def _agreement(
    name: str,
    sampler: Sampler,
    config: DecoderConfig,
    state: State,
    adapter: Adapter | None,
    dtype: Dtype,
) -> Finding:
    found = compared(sampler, reference(config, state, 1.0, adapter), _requests(config))
    fault = found.fault(FLOATS[dtype], 1.0)
    figures = {"mean": found.mean, "largest": found.largest}
    return Finding(name, fault is None, needed=True, said=fault or str(found), figures=figures)


def _invariance(name: str, engine: LocalEngine, config: DecoderConfig) -> Finding:
    tested = self_test(engine, config.vocab_size, config.max_position_embeddings)
    said = (
        f"of {tested.num_completions} completions {tested.num_different_tokens} had other tokens and "
        f"{tested.num_different_logprobs} other log-probabilities in other company"
    )
    return Finding(name, tested.batch_invariant, needed=False, said=said)


def _recipe(versions: int, section: AdapterSection | None) -> Recipe:
    given = {
        "run": {
            "name": "device",
            "versions": versions,
            "groups_per_update": GROUPS,
            "group_size": ROLLOUTS,
        },
        "environment": {"name": "secret_order"},
        "sampling": {"max_new_tokens": NEW_TOKENS},
        "optimiser": {"learning_rate": 1e-3, "warmup_steps": 0},
    }
    recipe = Recipe.model_validate(given)
    return recipe if section is None else recipe.model_copy(update={"adapter": section})


def _lock_step(device: str, recipe: Recipe) -> str:
    """Sample and learn, both there; the digest of the last version."""
    config, state = small("llama")
    trainer = _trainer(config, state, recipe, device)
    engine = LocalEngine(config, device=device)
    for version in range(recipe.run.versions):
        sampler = _seated(engine, state, trainer.published_state(), recipe)
        trainer.update(_groups(sampler, config, version))
    return describe(trainer.published_state(), trainer.version, None, trainer.over).state


def _trainer(config: DecoderConfig, state: State, recipe: Recipe, device: str) -> Trainer:
    model = Decoder(config)
    model.load_state_dict({name: each.float() for name, each in state.items()})
    return Trainer(model.to(ready_device(device)), recipe)


def _seated(engine: LocalEngine, base: State, policy: State, recipe: Recipe) -> Sampler:
    if recipe.adapter is None:
        engine.load(policy)
        return engine
    engine.load(base)
    engine.adapt(ADAPTER, Adapter(recipe.adapter.form, policy))
    return WithAdapter(engine, ADAPTER)


def _groups(sampler: Sampler, config: DecoderConfig, version: int) -> list[Group]:
    requests = _requests(config, version * GROUPS)
    return [
        Group(index, request.prompt, rollouts, tuple(map(_reward, rollouts)), version)
        for index, (request, rollouts) in enumerate(
            zip(requests, sampler.generate(requests), strict=True), version * GROUPS
        )
    ]


def _reward(rollout: Rollout) -> float:
    return len(set(rollout.tokens)) % 4 / 3


def _beside_the_processor(device: str, recipe: Recipe, kind: str) -> Finding:
    """One update from the same groups, here and there."""
    config, state = small("llama")
    engine = LocalEngine(config)
    steps = []
    groups: list[Group] | None = None
    for place in ("cpu", device):
        trainer = _trainer(config, state, recipe, place)
        before = trainer.published_state()
        if groups is None:
            groups = _groups(_seated(engine, state, before, recipe), config, 0)
        report = trainer.update(groups)
        steps.append((before, trainer.published_state(), report))
    (_, here, told), (_, there, said) = steps
    same = sum(int((here[name] == there[name]).sum()) for name in here)
    total = sum(each.numel() for each in here.values())
    norms = abs(said.grad_norm - told.grad_norm) / max(told.grad_norm, 1e-12)
    figures = {"same_weights": same / total, "grad_norm_apart": norms, "kl": said.mismatch_kl}
    return Finding(
        f"an update like the processor's, {kind}",
        held=norms < 1e-3 and said.mismatch_kl < 1e-6,
        needed=True,
        said=f"gradient's norm apart by {norms:.1e} of itself, {same / total:.2%} of the new bf16 weights the same, "
        f"mismatch KL {said.mismatch_kl:.1e}",
        figures=figures,
    )
