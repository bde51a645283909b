"""A model from nothing: random weights, the recipe's supervised stage, a model directory."""

from collections.abc import Callable
from pathlib import Path

from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import Decoder, random_weights
from archipel.model.tokenizer import Tokenizer, tokenizer_named
from archipel.records.recipe import Recipe
from archipel.records.seeds import derive_seed
from archipel.training.environments.environment import Environment, make_environment
from archipel.training.sft import Progress, SupervisedStage, environment_examples, supervise


class NoSupervisedStage(ValueError):
    """The recipe has no [supervised] section, so there is nothing to start from."""


def start_model(
    recipe: Recipe,
    out: Path,
    on_step: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Path | None = None,
) -> Progress:
    """Train the recipe's model from random weights on its supervised data; write it to `out`.

    The verifier's secret is not needed and not used: supervised data never depends on it.

    Raises:
        NoSupervisedStage: the recipe has none.
        InvalidEnvironment: the environment cannot be made.
    """
    if recipe.supervised is None:
        raise NoSupervisedStage(
            "the recipe has no [supervised] section; add one or start from weights"
        )
    tokenizer = tokenizer_named(recipe.model.tokenizer)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    model = initial_model(recipe, tokenizer)
    progress = supervise(
        model, supervised_stage(recipe, environment, tokenizer, checkpoints), on_step
    )
    write_model(out, model, model.config, tokenizer)
    return progress


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
        examples=environment_examples(environment, tokenizer, recipe.prompt),
        floor=environment.supervised_floor,
        micro_batch_tokens=recipe.optimiser.micro_batch_tokens,
        checkpoints=checkpoints,
    )
