"""What a run is opened with, as its lab must know it: terms and pace, from a recipe, a model directory and text.

Parts: `Text`, `Brought` (what is sent), `vocabulary_of`, `terms_and_pace`. Law: what is sent is named by its digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archipel.node.cited import audited_by
from archipel.records.backends import Backend
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef
from archipel.records.programmes import WORDS_OF
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import RecipeForm
from archipel.records.terms import RunPace, Terms, Vocabulary

MAX_TOLD_PROMPT = 32_768
"""Tokens of the longest prompt whose experts a rollout says: results are bounded by it."""


class InvalidModel(ValueError):
    """The model directory does not say what a lab must know; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Text:
    """What the members of a run of pretraining are given to learn from."""

    files: tuple[Path, ...]
    """The corpus's manifest, and its shards in their order."""
    blobs: tuple[BlobRef, ...]
    """Of each of these files."""
    payload_bytes: int
    """Of every contribution."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What is sent when a run is opened, besides its recipe."""

    files: Sequence[Path]
    """Of the model directory (`operator.model_files`)."""
    text: Text | None = None
    """Of a run that learns from text."""


def vocabulary_of(weights: Path, backend: Backend = "archipel") -> Vocabulary:
    """What a lab must know of the tokens that the model in directory `weights` may sample.

    The size is that of the logits (`vocab_size` of config.json): a tokenizer may have fewer ids, and
    the model may still sample the others. A completion ends at any end token that the directory names.

    Raises:
        InvalidModel: config.json or the tokenizer is missing or malformed.
    """
    # Agents never need these.
    from archipel.model.json_files import BadJsonFile, read_json_object
    from archipel.model.tokenizer import InvalidTokenizer, Tokenizer

    path = weights / "config.json"
    try:
        fields = read_json_object(path)
        own = backend == "archipel"
        size = fields.get("vocab_size") if own else _stock_vocabulary(weights)
        stops = Tokenizer.from_directory(weights).stop_ids
    except InvalidTokenizer as error:
        raise InvalidModel(str(error)) from None
    except BadJsonFile as error:
        raise InvalidModel(f"a vocab_size was expected, but {error}") from None
    if type(size) is not int or size < 1:
        raise InvalidModel(f"{path}: vocab_size is {size!r:.40}; expected a number of ids")
    if any(stop >= size for stop in stops):
        raise InvalidModel(
            f"{path}: vocab_size is {size}, the end tokens {list(stops)}; they must lie below it"
        )
    return Vocabulary(size, stops, _experts_of(fields) if own else None)


def _experts_of(fields: Mapping[str, Any]) -> ExpertTerms | None:
    """Of a mixture of experts by its config.json; what else is wrong with that, others say."""
    from archipel.model.config import DecoderConfig, InvalidConfig

    try:
        config = DecoderConfig.from_hf(fields)
    except InvalidConfig:
        return None
    if config.experts is None:
        return None
    return ExpertTerms(
        layers=config.num_layers,
        count=config.experts.count,
        chosen=config.experts.chosen,
        prompt_tokens=min(config.max_position_embeddings, MAX_TOLD_PROMPT),
    )


def _stock_vocabulary(weights: Path) -> int:
    from archipel.model.config_files import InvalidModel as BadConfig
    from archipel.model.stock_config import read_stock_config

    try:
        return read_stock_config(weights).vocab_size
    except BadConfig as error:
        raise InvalidModel(str(error)) from None


def terms_and_pace(
    recipe: RecipeForm, weights: Path, calibration: Path | None = None, text: Text | None = None
) -> tuple[Terms, RunPace]:
    """The parts of a recipe that the lab acts on; calibration: see `audited_by`. Raises InvalidModel."""
    words = WORDS_OF[recipe.run.programme]
    backend = recipe.model.backend if isinstance(recipe, Recipe) else "archipel"
    vocabulary = vocabulary_of(weights, backend)
    if text is not None:
        vocabulary = replace(vocabulary, corpus=text.blobs, payload_bytes=text.payload_bytes)
    try:
        pace = words.pace_of(recipe, vocabulary)
        pace = pace.model_copy(update=audited_by(recipe, calibration))
    except ValueError as error:
        raise InvalidModel(str(error)) from None
    needed_mb = _memory_mb(recipe, weights)
    return words.terms_of(recipe), pace.model_copy(update={"memory_mb": needed_mb})


def _memory_mb(recipe: RecipeForm, weights: Path) -> int | None:
    """What sampling takes of a node, so that no node is asked which has less; None: nobody knows."""
    from archipel.model.config_files import InvalidModel as BadConfig
    from archipel.model.config_files import read_config
    from archipel.model.stock_config import read_stock_config
    from archipel.work.room import run_node_need

    if not isinstance(recipe, Recipe):
        return None
    try:
        own = recipe.model.backend == "archipel"
        config = read_config(weights) if own else read_stock_config(weights)
        return -(-run_node_need(recipe, config).peak // 10**6)
    except BadConfig:
        return None  # what else stands in the way of this model is for the checks before to say
