"""Where a corpus lies: a folder with `corpus.json` (its manifest) and one file for each shard.

Parts: `shard_names`, `read_manifest`, `write_manifest`, `strays`.
Law: the manifest is written last, so a folder that has one was finished.
"""

import os
import re
from pathlib import Path

from archipel.records.corpus import MAX_MANIFEST_BYTES, BadCorpus, CorpusManifest, Shard

MANIFEST = "corpus.json"
_OURS = re.compile(r"(shard|held-out)-\d{5}\.tokens(\.partial)?")


def shard_names(manifest: CorpusManifest) -> dict[str, Shard]:
    """File name -> what is to be in it: shards first, then held-out ones."""
    sides = {"shard": manifest.shards, "held-out": manifest.held_out}
    return {
        f"{prefix}-{number:05d}.tokens": shard
        for prefix, shards in sides.items()
        for number, shard in enumerate(shards)
    }


def read_manifest(folder: Path) -> CorpusManifest:
    """Raises BadCorpus: there is none, or it is none of this form. OSError: it cannot be read."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise BadCorpus(
            f"{folder} has no {MANIFEST}: no corpus was finished there; "
            "`archipel corpus make` makes one, or goes on with it"
        ) from None
    try:
        return CorpusManifest.from_bytes(data)
    except BadCorpus as error:
        raise BadCorpus(f"{path}: {error}") from None


def write_manifest(folder: Path, manifest: CorpusManifest) -> None:
    """Durable before it has its name. Raises OSError."""
    aside = folder / f"{MANIFEST}.partial"
    try:
        with aside.open("wb") as file:
            file.write(manifest.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / MANIFEST)
    finally:
        aside.unlink(missing_ok=True)


def strays(folder: Path, expected: set[str]) -> list[str]:
    """Names of shards' files, whole or not, that do not belong to the corpus."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if _OURS.fullmatch(path.name) and path.name not in expected
    )
