"""What an operator does to a lab from outside: open a run, pause or stop it, fetch its newest weights."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.cited import CALIBRATION, audited_by
from archipel.node.client import LabClient, LabReader
from archipel.node.exchange import believed
from archipel.node.sealed import Founding, opening_of
from archipel.node.supply import Supply
from archipel.node.uploads import send_bytes, send_file
from archipel.node.weights import Weights
from archipel.records.adapter import FILES as ADAPTER_FILES
from archipel.records.backends import Backend
from archipel.records.documents import Opening, Receipt, RunView
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef
from archipel.records.pauses import RunPaused, RunResumed
from archipel.records.programmes import WORDS_OF
from archipel.records.recipe import Recipe
from archipel.records.recipe_form import RecipeForm
from archipel.records.statements import ModelFile, RunOpened, RunRetried, RunStopped
from archipel.records.terms import RunPace, Terms, Vocabulary
from archipel.work.messages import LinkMessage

HASH_CHUNK_BYTES = 1024 * 1024
MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""What belongs to a model directory; anything else in it stays at home."""
WEIGHTS = (".safetensors", ".index.json")
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


async def open_run(
    url: str,
    identity: Identity,
    recipe: RecipeForm,
    weights: Path,
    trusted: Sequence[str],
    files: Sequence[Path] | None = None,
    text: Text | None = None,
) -> Receipt:
    """Upload recipe and model directory and open the run; `trusted` are the keys that may update.

    files: what is uploaded (see `model_files`); None: all of the directory. text: of a run that has one.

    Raises:
        LabUnreachable, LabRefused: from the lab.
        InvalidModel, OSError: the model directory cannot be used.
    """
    if files is None:
        files = await asyncio.to_thread(model_files, weights)
    cited = next((path for path in files if path.name == CALIBRATION), None)
    terms, pace = await asyncio.to_thread(terms_and_pace, recipe, weights, cited, text)
    async with LabClient(url, identity) as client:
        await client.greet()
        sent = []
        for path in files:
            blob = await asyncio.to_thread(describe_file, path)
            await send_file(client, path, blob)
            sent.append(ModelFile(name=path.name, blob=blob))
        for path, blob in () if text is None else zip(text.files, text.blobs, strict=True):
            await send_file(client, path, blob)
        data = recipe.canonical_bytes()
        recipe_blob = BlobRef(digest=recipe.digest, size=len(data))
        await send_bytes(client, data, recipe_blob)
        return await client.submit(
            RunOpened,
            run=recipe.run.name,
            recipe=recipe_blob,
            terms=terms,
            pace=pace,
            model=tuple(sent),
            trusted=tuple(trusted),
        )


async def stop_run(url: str, identity: Identity, run: str, reason: str) -> Receipt:
    """End a run early."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(RunStopped, run=run, reason=reason)


async def pause_run(url: str, identity: Identity, run: str, reason: str) -> Receipt:
    """Have nothing of a run handed out until it is resumed."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(RunPaused, run=run, reason=reason)


async def resume_run(url: str, identity: Identity, run: str) -> Receipt:
    """Let a paused run go on."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(RunResumed, run=run)


async def retry_run(url: str, identity: Identity, run: str) -> Receipt:
    """What failed of a run is mended: its work is handed out again at once."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(RunRetried, run=run)


async def fetch_version(
    url: str,
    store: BlobStore,
    run: str,
    version: int | None,
    support: Path,
    *,
    weights: bool = False,
) -> list[LinkMessage]:
    """Fetch the chain of policy version `version` (None: the newest), and into `support`, which then has nothing
    else, the files beside the weights: config, tokenizer, exact choice.

    weights: also what the versions of an adapter's run lie over.

    Raises:
        LabUnreachable, LabRefused: from the lab; also when it shows what its operator did not sign.
        ValueError: the run has no such version.
    """
    async with LabReader(url) as lab:
        await lab.meet()
        newest = (await lab.read(RunView, f"/runs/{run}")).version
        target = newest if version is None else version
        if not 0 <= target <= newest:
            raise ValueError(f"{run} has versions 0 to {newest}, not {target}")
        shown = await lab.read(Opening, f"/runs/{run}/opening")
        founding = Founding(lab.lab, lab.operators)
        opened = believed(lambda: opening_of(shown.opening, founding, run))
        lies_over = weights and opened.pace.adapter is not None
        wanted = needed_files(opened, trusted=False) if lies_over else set()
        beside = [
            each
            for each in opened.model
            if each.name not in ADAPTER_FILES
            and (each.name in wanted or not each.name.endswith(WEIGHTS))
        ]
        await asyncio.to_thread(_keep_only, support, {file.name for file in beside})
        for file in beside:
            path = await lab.fetch(file.blob, store)
            await asyncio.to_thread(copy_file, path, support / file.name)
        return await Weights(lab, Supply(lab, store).fetch).chain(opened, -1, target, target)


def _keep_only(folder: Path, names: set[str]) -> None:
    """Another run of this name, fetched before, may have had files that this one does not have."""
    for path in model_files(folder) if folder.is_dir() else ():
        if path.name not in names:
            path.unlink()


def copy_file(source: Path, target: Path) -> None:
    """A copy that may be changed without changing the blob; whole or absent, whatever interrupts it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(source, aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def is_copy_of(path: Path, blob: BlobRef) -> bool:
    """Whether these very bytes are there: a file of that name may be another run's, or damaged."""
    return path.is_file() and path.stat().st_size == blob.size and describe_file(path) == blob


def needed_files(opened: RunOpened, *, trusted: bool) -> set[str]:
    """Names of the model files that a machine needs: weights are for who trains them, or samples from adapters over them."""
    names = {file.name for file in opened.model}
    if trusted:
        return names
    # What an adapter's first version is made from is published with it, like that of any other.
    names -= set(ADAPTER_FILES)
    if opened.pace.adapter is not None:
        return names
    return {name for name in names if not name.endswith(".safetensors")}


def model_files(folder: Path, adapter: Path | None = None) -> list[Path]:
    """The files of a model directory, sorted by name, and then those of an adapter over it."""
    own = (path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES)
    over = [] if adapter is None else [adapter / name for name in ADAPTER_FILES]
    return [*sorted(path for path in own if path.name not in ADAPTER_FILES), *over]


def describe_file(path: Path) -> BlobRef:
    """A file's digest and size, read once."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return BlobRef(digest=f"sha256:{hasher.hexdigest()}", size=size)
