"""What an operator does to a lab from outside: open a run, pause or stop it, fetch its newest weights."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.cited import CALIBRATION
from archipel.node.client import LabClient, LabReader
from archipel.node.exchange import believed
from archipel.node.opening import Brought, terms_and_pace
from archipel.node.sealed import opening_of
from archipel.node.supply import Supply
from archipel.node.uploads import send_bytes, send_file
from archipel.node.weights import Weights
from archipel.records.adapter import FILES as ADAPTER_FILES
from archipel.records.documents import Opening, Receipt, RunView
from archipel.records.fields import BlobRef
from archipel.records.pauses import RunPaused, RunResumed, RunRetried
from archipel.records.recipe_form import RecipeForm
from archipel.records.statements import ModelFile, RunOpened, RunStopped
from archipel.work.messages import LinkMessage

HASH_CHUNK_BYTES = 1024 * 1024
MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".txt")
"""What belongs to a model directory; anything else in it stays at home."""
WEIGHTS = (".safetensors", ".index.json")


async def open_run(
    url: str,
    identity: Identity,
    recipe: RecipeForm,
    weights: Path,
    trusted: Sequence[str],
    brought: Brought | None = None,
) -> Receipt:
    """Upload recipe and model directory and open the run; `trusted` are the keys that may update.

    brought: what is uploaded; None: all of the directory, and no text.

    Raises:
        LabUnreachable, LabRefused: from the lab.
        InvalidModel, OSError: the model directory cannot be used.
    """
    if brought is None:
        brought = Brought(await asyncio.to_thread(model_files, weights))
    files, text = brought.files, brought.text
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
        founding = lab.founding
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
    if opened.pace.lies_over:
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
