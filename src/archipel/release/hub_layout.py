"""Whether a folder can be put on a model hub as it is: layout, the card's settings, no pickle, sizes. Offline.

Law: it reads and judges; it neither uploads nor believes a file's name: what would run code when it is loaded is looked
for in bytes. Sources: Hugging Face hub's documentation (model cards; storage limits: 50 GB a file, 10,000 entries a
folder, 100,000 files a repository); pickle's opcodes PROTO and STOP (Python's pickletools).
"""

import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archipel.release import places
from archipel.release.oms.folder import files_in
from archipel.release.openness.data_files import front_matter
from archipel.release.openness.plain_yaml import BadYaml, read_plain_yaml
from archipel.release.verify.files import read_bounded

MAX_CARD_BYTES = 4 * 1024 * 1024
MAX_FILE_BYTES = 50 * 10**9
ADVISED_FILE_BYTES = 20 * 10**9
MAX_ENTRIES = 10_000
"""Of one folder."""
MAX_FILES = 100_000
MAX_ZIP_BYTES = 64 * 1024 * 1024
"""Of an archive whose list of files is read; a larger one is named instead."""
PICKLES: Final = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin")
"""Endings under which weights lie as pickle."""
_RELATIONS: Final = ("finetune", "adapter", "merge", "quantized")
_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
Tell = Callable[[str], None]


@dataclass(slots=True)
class HubCheck:
    """What was found."""

    num_files: int = 0
    num_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    """Why the hub, or whoever loads from it, would not take it."""
    advice: list[str] = field(default_factory=list)
    """What it would take, and had better be otherwise."""


def check_hub(folder: Path, tell: Tell) -> HubCheck:
    """1 files of a model, at the root  2 the card's settings  3 no pickle  4 sizes.

    Raises:
        BadOms: a link or a device lies there. OSError: it cannot be read.
    """
    found = HubCheck()
    files = sorted(files_in(folder))
    # 1
    found.faults += _layout(set(files))
    # 2
    found.faults += _card(folder) if places.CARD in files else []
    # 3, 4
    for path in files:
        tell(f"looking into {path}")
        size = (folder / path).stat().st_size
        found.num_files, found.num_bytes = found.num_files + 1, found.num_bytes + size
        if why := _pickle(folder / path, path, size):
            found.faults.append(f"{path}: {why}")
        if size > MAX_FILE_BYTES:
            found.faults.append(
                f"{path} has {size} bytes; the hub takes {MAX_FILE_BYTES}: split it"
            )
        elif size > ADVISED_FILE_BYTES:
            found.advice.append(f"{path} has {size} bytes; {ADVISED_FILE_BYTES} load better")
    found.faults += _crowds(files)
    return found


def _layout(files: set[str]) -> Iterator[str]:
    if places.CARD not in files:
        yield f"there is no {places.CARD}: the hub shows it, and reads the licence from it"
    is_adapter = "adapter_config.json" in files
    if not is_adapter and "config.json" not in files:
        yield "there is no config.json at the root: no loader knows what these weights are"
    if not any("/" not in each and each.endswith(".safetensors") for each in files):
        yield "there are no *.safetensors at the root: no loader finds the weights"
    for each in sorted(files):
        if each.split("/")[0] == ".git":
            yield f"{each}: the hub keeps .git for itself"


def _card(folder: Path) -> Iterator[str]:
    """Faults of the settings between the first two `---`."""
    try:
        text = read_bounded(folder / places.CARD, MAX_CARD_BYTES).decode()
        settings = front_matter(text)
        said = read_plain_yaml((settings or "").encode())
    except (ValueError, BadYaml) as error:
        yield f"{places.CARD}: {error!s:.200}"
        return
    if settings is None or not isinstance(said, dict):
        yield f"{places.CARD} has no settings between two lines of ---, so the hub knows no licence"
        return
    yield from _licence(said)
    for key in ("tags", "language", "base_model", "datasets"):
        if key in said and not _are_texts(said[key]):
            yield f"{places.CARD}: {key} is neither text nor a list of texts"
    parents = said.get("base_model") or []
    for each in [parents] if isinstance(parents, str) else parents:
        if isinstance(each, str) and not _HUB_NAME.fullmatch(each):
            yield f"{places.CARD}: base_model {each!r:.80} is no name on the hub, like org/model"
    if said.get("base_model_relation") not in (None, *_RELATIONS):
        yield f"{places.CARD}: base_model_relation is one of {', '.join(_RELATIONS)}"
    if "model-index" in said and not isinstance(said["model-index"], list):
        yield f"{places.CARD}: model-index is no list of results"


def _licence(said: dict[str, Any]) -> Iterator[str]:
    licence = said.get("license")
    if not isinstance(licence, str) or not _LICENCE.fullmatch(licence):
        yield f"{places.CARD}: license is {licence!r:.80}; expected an id in small letters, like apache-2.0"
    elif licence == "other":
        for key in ("license_name", "license_link"):
            if not isinstance(said.get(key), str):
                yield f"{places.CARD}: license is other, and there is no {key}"


def _are_texts(value: Any) -> bool:
    listed = value if isinstance(value, list) else [value]
    return all(isinstance(each, str) for each in listed)


def _pickle(path: Path, name: str, size: int) -> str:
    """Why it would run code when it is loaded; empty: it would not."""
    if name.endswith(PICKLES):
        return "loaders take it for pickle, which runs code; expected safetensors"
    if size < 3:
        return ""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-1, os.SEEK_END)
        end = file.read(1)
    if start[0] == 0x80 and 2 <= start[1] <= 5 and end == b".":
        return "its bytes begin and end as pickle, which runs code"
    if start != b"PK\x03\x04":
        return ""
    if size > MAX_ZIP_BYTES:
        return f"an archive of {size} bytes is not looked into here; it may hold pickle"
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [each for each in archive.namelist() if each.endswith(PICKLES)]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "an archive that cannot be read; it may hold pickle"
    return f"the archive holds {inside[0]!r:.80}, which is pickle" if inside else ""


def _crowds(files: list[str]) -> Iterator[str]:
    if len(files) > MAX_FILES:
        yield f"there are {len(files)} files; the hub takes {MAX_FILES} in a repository"
    entries: Counter[str] = Counter()
    folders: set[str] = set()
    for each in files:
        parts = each.split("/")
        entries["/".join(parts[:-1])] += 1
        folders |= {"/".join(parts[:end]) for end in range(1, len(parts))}
    for each in folders:
        entries[each.rpartition("/")[0]] += 1
    for name, number in sorted(entries.items()):
        if number > MAX_ENTRIES:
            yield f"{name or 'the root'} has {number} entries; the hub takes {MAX_ENTRIES} in a folder"
