"""What an operator does to a lab from outside: open a run, stop it, fetch its newest weights."""

import asyncio
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.blobs import BlobStore
from archipel.node.client import LabClient
from archipel.node.documents import Opening
from archipel.node.weights import Weights
from archipel.records.fields import BlobRef
from archipel.records.recipe import Recipe
from archipel.records.statements import ModelFile, Pace, RunOpened, RunStopped
from archipel.work.messages import LinkMessage

HASH_CHUNK_BYTES = 1024 * 1024
MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""What belongs to a model directory; anything else in it stays at home."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the lab must know of the tokenizer to check results."""

    size: int
    stop_tokens: tuple[int, ...]


def make_pace(recipe: Recipe, vocabulary: Vocabulary) -> Pace:
    """The part of a recipe that the lab acts on."""
    run, sampling, lease = recipe.run, recipe.sampling, recipe.lease
    return Pace(
        versions=run.versions,
        groups_per_update=run.groups_per_update,
        group_size=run.group_size,
        max_staleness=run.max_staleness,
        evaluate_every=recipe.evaluation.every,
        seed=run.seed,
        vocab_size=vocabulary.size,
        max_new_tokens=sampling.max_new_tokens,
        temperature_micro=round(sampling.temperature * 1e6),
        stop_tokens=vocabulary.stop_tokens,
        max_groups_per_lease=lease.max_groups,
        min_deadline_ms=round(lease.min_deadline_s * 1000),
        update_deadline_ms=round(lease.update_deadline_s * 1000),
        slack_milli=round(lease.slack * 1000),
        price_micro=lease.price_micro,
    )


async def open_run(
    client: LabClient,
    recipe: Recipe,
    vocabulary: Vocabulary,
    model: Path,
    trusted: tuple[str, ...],
) -> dict[str, Any]:
    """Upload recipe and model directory and open the run; returns the lab's receipt.

    Raises:
        LabUnreachable, LabRefused: from the lab.
        OSError: the model directory cannot be read.
    """
    await client.greet()
    paths = await asyncio.to_thread(model_files, model)
    files = []
    for path in paths:
        blob = await asyncio.to_thread(describe_file, path)
        await client.upload(path, blob, None)
        files.append(ModelFile(name=path.name, blob=blob))
    return await client.submit(
        RunOpened,
        run=recipe.run.name,
        recipe=await _upload_recipe(client, recipe),
        pace=make_pace(recipe, vocabulary),
        model=tuple(files),
        trusted=trusted,
    )


async def stop_run(client: LabClient, run: str, reason: str) -> dict[str, Any]:
    """End a run early."""
    await client.greet()
    return await client.submit(RunStopped, run=run, reason=reason)


async def fetch_version(
    client: LabClient, store: BlobStore, run: str, version: int | None, support: Path
) -> list[LinkMessage]:
    """Fetch the chain of policy version `version` (None: the newest), and config and tokenizer into `support`.

    Raises:
        LabUnreachable, LabRefused: from the lab.
        ValueError: the run has no such version.
    """
    newest = int((await client.get(f"/runs/{run}"))["version"])
    target = newest if version is None else version
    if not 0 <= target <= newest:
        raise ValueError(f"{run} has versions 0 to {newest}, not {target}")
    opening = await client.read(Opening, f"/runs/{run}/opening")
    for file in opening.model:
        if not file.name.endswith((".safetensors", ".index.json")):
            path = await client.fetch(file.blob, store)
            await asyncio.to_thread(copy_file, path, support / file.name)
    return await Weights(client, store).chain(run, -1, target)


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


def model_files(folder: Path) -> list[Path]:
    """The files of a model directory, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES)


def describe_file(path: Path) -> BlobRef:
    """A file's digest and size, read once."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return BlobRef(digest=f"sha256:{hasher.hexdigest()}", size=size)


async def _upload_recipe(client: LabClient, recipe: Recipe) -> BlobRef:
    data = recipe.canonical_bytes()
    blob = BlobRef(digest=recipe.digest, size=len(data))
    await client.upload_bytes(data, blob, None)
    return blob
