"""How fast a device samples and learns: tokens per second of one model, by the clock."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from archipel.bench.contestants import Dtype, Workload, workload_named
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.proof import prove
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.noise import random_tokens
from archipel.model.devices import ready_device
from archipel.model.network import random_weights
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.trainer import Trainer

GROUP = 8
SEED = 7


@dataclass(frozen=True)
class Speed:
    """Of one model, after one round that is not counted."""

    what: str
    model: str
    dtype: str
    """float32, bfloat16, or the name of an exact variant."""
    batch: int
    """Sequences."""
    length: int
    """Tokens of each, prompt included."""
    tokens_per_s: float
    """Sampled ones, or learned from."""


def sampling_speed(device: str, model: str, dtype: Dtype, batch: int) -> Speed:
    """Prompts are read within the time; `batch` is a multiple of the group's size."""
    workload = workload_named(model)
    engine = LocalEngine(workload.config, dtype=getattr(torch, dtype), device=device)
    weights = random_weights(workload.config, SEED).state_dict()
    engine.load({name: each.bfloat16() for name, each in weights.items()})
    return _sampling(engine, workload, model, dtype, batch)


def _sampling(engine: LocalEngine, workload: Workload, model: str, how: str, batch: int) -> Speed:
    length, new, size = workload.prompt_length, workload.num_new, workload.config.vocab_size
    requests = [
        Request(str(n), random_tokens(SEED, n, length, size), n, GROUP, new)
        for n in range(batch // GROUP)
    ]
    sampled = sum(request.num_rollouts for request in requests) * new
    rate = sampled / _seconds(lambda: engine.generate(requests))
    return Speed("sampled", model, how, batch, length + new, rate)


def exact_speeds(device: str, model: str, batch: int) -> Iterator[Speed]:
    """Of every exact contract that gives its known vectors there."""
    workload = workload_named(model)
    proven = set(prove(device).contracts)
    weights = random_weights(workload.config, SEED).state_dict()
    state = {name: each.bfloat16() for name, each in weights.items()}
    for name, variant in VARIANTS.items():
        if variant.identity in proven:
            arithmetic = ExactArithmetic(workload.config, variant, ready_device(device))
            engine = LocalEngine(workload.config, device=device, arithmetic=arithmetic)
            engine.load(state)
            yield _sampling(engine, workload, model, name, batch)


def training_speed(device: str, model: str, batch: int) -> Speed:
    """Whole weights, fp32, one update of `batch` sequences."""
    workload = workload_named(model)
    recipe = Recipe.model_validate(
        {
            "run": {
                "name": "speed",
                "versions": 100,
                "groups_per_update": batch // GROUP,
                "group_size": GROUP,
            },
            "environment": {"name": "secret_order"},
            "sampling": {"max_new_tokens": workload.num_new},
        }
    )
    decoder = random_weights(workload.config, SEED).to(ready_device(device))
    trainer = Trainer(decoder, recipe)

    def learn() -> None:
        trainer.update(_made_up(workload.config.vocab_size, workload.prompt_length, trainer))

    rate = batch * workload.num_new / _seconds(learn)
    length = workload.prompt_length + workload.num_new
    return Speed("learned from", model, "float32", batch, length, rate)


def _made_up(vocab_size: int, prompt_length: int, trainer: Trainer) -> list[Group]:
    """Rollouts that nobody sampled, under the log-probabilities of chance."""
    run, new = trainer.recipe.run, trainer.recipe.sampling.max_new_tokens
    chance = -float(torch.tensor(vocab_size).log())
    first = trainer.version * run.groups_per_update
    groups = []
    for index in range(first, first + run.groups_per_update):
        prompt = random_tokens(SEED, index, prompt_length, vocab_size)
        rollouts = tuple(
            Rollout(
                random_tokens(index + 1, number, new, vocab_size), (chance,) * new, finished=False
            )
            for number in range(run.group_size)
        )
        rewards = tuple(float(number % 2) for number in range(run.group_size))
        groups.append(Group(index, prompt, rollouts, rewards, trainer.version))
    return groups


def _seconds(work: Callable[[], object]) -> float:
    """Of the second time; both end with their results on the host."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
