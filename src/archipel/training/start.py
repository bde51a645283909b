"""A model to begin with: random or given weights, the recipe's supervised stage, a model directory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from archipel.model.adapter import Adapter, adapt, base_state, trained
from archipel.model.adapter_files import write_adapter
from archipel.model.backends import AnyDecoder, read_any_model
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.devices import CPU
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import Over, describe
from archipel.model.network import Decoder, random_weights
from archipel.model.new_directory import require_free
from archipel.model.stock import write_stock_model
from archipel.model.tokenizer import Tokenizer, tokenizer_named
from archipel.records.recipe import Recipe
from archipel.records.seeds import derive_seed
from archipel.training.environments.environment import Environment, make_environment
from archipel.training.episodes import conduct_of
from archipel.training.made import state_digest, state_made
from archipel.training.sft import (
    Examples,
    Progress,
    Stamp,
    SupervisedStage,
    environment_examples,
    episode_examples,
    supervise,
)

EXAMPLES_NAMED = 64
"""So many examples stand for the data in a checkpoint's name."""


@dataclass(frozen=True)
class Way:
    """How a supervised stage is gone through, beside what its recipe says."""

    first_example: int = 0
    """Where its data begins, so that more of the same can be told from the same again."""
    device: torch.device = CPU
    """Where it learns."""
    machine: str = ""
    """Class of that, as `made.json` is to say it; empty: it does not."""


DEFAULT = Way()


class NoSupervisedStage(ValueError):
    """The recipe has no [supervised] section, so there is nothing to start from."""


def start_model(
    recipe: Recipe,
    out: Path,
    on_step: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
    weights: Path | None = None,
    way: Way = DEFAULT,
) -> Progress:
    """Train a model on the recipe's supervised data and write it to `out`, with `made.json`: what it follows from.

    It starts from random weights of the recipe's `[model]`, or from the model directory `weights`, whose
    architecture and tokenizer it then keeps. The verifier's secret is not needed and not used: supervised
    data never depends on it.

    Raises:
        NoSupervisedStage: the recipe has none.
        InvalidEnvironment: the environment cannot be made.
        InvalidModel: `weights` is no model directory that this network can load, or its numbers are none.
        Diverged: the numbers became none; what was saved before stays.
        AnothersCheckpoint: `checkpoints` holds what another recipe, seed or start has saved.
        OSError: `out` is taken or cannot be written; this is looked at before the work.
    """
    _require_places(recipe, out, checkpoints)
    if weights is None:
        _require_own(recipe)
        tokenizer = tokenizer_named(recipe.model.tokenizer)
        model: AnyDecoder = initial_model(recipe, tokenizer)
    else:
        tokenizer = Tokenizer.from_directory(weights)
        model = read_any_model(weights, recipe.model.backend)
        _require_finite(model, weights)
    began = None if weights is None else state_digest(model.named_parameters())
    model = model.to(way.device)
    stage = _stage(recipe, tokenizer, model, checkpoints, way.first_example)
    progress = supervise(model, stage, on_step)
    if isinstance(model, Decoder):
        write_model(out, model, model.config, tokenizer)
    elif weights is not None:
        state = {name: each.detach() for name, each in model.named_parameters()}
        write_stock_model(out, state, model.config, weights)
    ended = state_digest(model.named_parameters())
    state_made(out, recipe, began, ended, (way.first_example, way.machine))
    return progress


def start_adapter(
    recipe: Recipe,
    out: Path,
    weights: Path,
    on_step: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
    way: Way = DEFAULT,
) -> Progress:
    """Train the recipe's `[adapter]` alone, over the model directory `weights`, on its supervised data.

    `out` becomes a directory in the PEFT layout, which names `weights` as what it lies over.

    Raises:
        NoSupervisedStage: the recipe has none, or no `[adapter]`.
        As `start_model` otherwise.
    """
    _require_places(recipe, out, checkpoints)
    if recipe.adapter is None:
        raise NoSupervisedStage(
            "the recipe has no [adapter] section; add one, or train whole weights"
        )
    tokenizer, model = Tokenizer.from_directory(weights), read_model(weights)
    _require_finite(model, weights)
    form = recipe.adapter.form
    adapt(model, form, derive_seed("adapter", recipe.run.seed))
    model = model.to(way.device)
    over = Over(describe(base_state(model), 0, None).state, form)
    stage = _stage(recipe, tokenizer, model, checkpoints, way.first_example)
    progress = supervise(model, stage, on_step)
    state = {name: each.detach().to("cpu", torch.bfloat16) for name, each in trained(model).items()}
    write_adapter(out, Adapter(form, state), over, str(weights))
    return progress


def _require_places(recipe: Recipe, out: Path, checkpoints: Path | None) -> None:
    """Raises NoSupervisedStage, OSError: before any work."""
    if recipe.supervised is None:
        raise NoSupervisedStage(
            "the recipe has no [supervised] section; add one or start from weights"
        )
    require_free(out)
    if checkpoints is not None and checkpoints.exists() and not checkpoints.is_dir():
        raise FileExistsError(
            f"{checkpoints} is a file; progress is saved in a folder of that name"
        )


def _stage(
    recipe: Recipe,
    tokenizer: Tokenizer,
    model: AnyDecoder,
    checkpoints: Path | None,
    first_example: int,
) -> SupervisedStage:
    """The recipe's supervised stage from this example on, under a stamp of what it follows from."""
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    stage = supervised_stage(recipe, environment, tokenizer, checkpoints)
    examples = stage.examples
    stage = replace(stage, examples=lambda index: examples(first_example + index))
    stamp = Stamp(recipe.run.name, recipe.run.seed, _digest_of(recipe, stage.examples, model))
    return replace(stage, stamp=stamp)


def _require_own(recipe: Recipe) -> None:
    if recipe.model.backend != "archipel":
        raise NoSupervisedStage(
            f'model.backend = "{recipe.model.backend}" makes no model from nothing: start from a directory (--weights)'
        )


def _require_finite(model: AnyDecoder, weights: Path) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InvalidModel(
                f"{weights}: tensor {name} holds NaN or infinity; nothing can be learned from there"
            )


def _digest_of(recipe: Recipe, examples: Examples, model: AnyDecoder) -> str:
    """Of settings, the first examples and the first weights: what a stage's result follows from."""
    hasher = hashlib.sha256(recipe.canonical_bytes())
    for index in range(EXAMPLES_NAMED):
        hasher.update(repr(examples(index)).encode())
    for name, parameter in sorted(model.named_parameters()):
        hasher.update(name.encode())
        hasher.update(
            parameter.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data
        )
    return f"sha256:{hasher.hexdigest()}"


def initial_model(recipe: Recipe, tokenizer: Tokenizer) -> Decoder:
    """Random weights of the recipe's architecture, a function of the run's seed."""
    config = DecoderConfig.from_section(recipe.model, tokenizer)
    return random_weights(config, derive_seed("weights", recipe.run.seed))


def supervised_stage(
    recipe: Recipe, environment: Environment, tokenizer: Tokenizer, checkpoints: Path | None = None
) -> SupervisedStage:
    """The recipe's supervised stage on the environment's own examples."""
    if recipe.supervised is None:
        raise NoSupervisedStage("the recipe has no [supervised] section")
    return SupervisedStage(
        section=recipe.supervised,
        examples=_examples(recipe, environment, tokenizer),
        floor=environment.supervised_floor,
        micro_batch_tokens=recipe.optimiser.micro_batch_tokens,
        checkpoints=checkpoints,
        memory=recipe.memory,
    )


def _examples(recipe: Recipe, environment: Environment, tokenizer: Tokenizer) -> Examples:
    conduct = conduct_of(recipe, environment, tokenizer)
    if conduct is None:
        return environment_examples(environment, tokenizer, recipe.prompt)
    return episode_examples(conduct.environment, conduct, recipe)
