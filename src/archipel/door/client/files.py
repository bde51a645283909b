"""A published adapter, fetched from a door into a folder in the PEFT layout.

Laws: the two files of that layout are fetched and no others, from the door itself whatever address it says; the folder appears
whole or not at all, and only if it is an adapter of the rank that was asked for.
"""

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from archipel.door.client.line import Line
from archipel.door.client.said import BadAnswer, FileUrls, said_as
from archipel.door.wire.errors import Refused
from archipel.door.wire.paths import read_path
from archipel.records.adapter import FILES

MAX_ADAPTER_BYTES = 8 * 1024**3
MAX_CONFIG_BYTES = 1024 * 1024
CONFIG, WEIGHTS = FILES


def fetch_adapter(line: Line, path: str, out: Path, rank: int) -> None:
    """path: the door's name for it; out: is not there yet.

    Raises:
        DoorRefused, DoorLost: it is not there, or nobody answers.
        BadAnswer: it is no such adapter.
        OSError: the disk is full or not writable.
    """
    try:
        found = read_path(path)
    except Refused as error:
        raise BadAnswer(f"the door calls a checkpoint {path!r:.100}: {error.sentence}") from None
    where = f"training_runs/{found.model}/checkpoints/{found.id}/external_weights_urls"
    urls = said_as(FileUrls, line.call("GET", where).body).urls
    if missing := set(FILES) - urls.keys():
        raise BadAnswer(f"the door has no {min(missing)} of {path}")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, limit in ((CONFIG, MAX_CONFIG_BYTES), (WEIGHTS, MAX_ADAPTER_BYTES)):
        address = urlsplit(urls[name])
        (partial / name).write_bytes(line.file(address.path, limit))
    _check((partial / CONFIG).read_bytes(), rank, path)
    if out.is_dir():
        out.rmdir()  # empty: it was looked at before
    partial.replace(out)


def _check(config: bytes, rank: int, path: str) -> None:
    try:
        said = json.loads(config)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("peft_type") != "LORA" or said.get("r") != rank:
        raise BadAnswer(f"{path} is no low-rank adapter of rank {rank}")
