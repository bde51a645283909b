"""What was seen of mirrored labs, as it lies on the disk beside each mirror. Whole or as it was before."""

import json
from collections.abc import Iterator
from pathlib import Path

from archipel.lab.mirrors.keeping import SEEN
from archipel.records.document import BadDocument, read_document
from archipel.records.mirror_documents import MAX_MIRRORS, MirrorView, is_name

MAX_SEEN_BYTES = 512 * 1024


def seen_in(folder: Path) -> MirrorView | None:
    """What was seen of the lab whose mirror lies in this folder; None: nothing that could be read."""
    try:
        with (folder / SEEN).open("rb") as file:
            data = file.read(MAX_SEEN_BYTES + 1)
        return None if len(data) > MAX_SEEN_BYTES else read_document(MirrorView, data)
    except (OSError, BadDocument):
        return None


def keep_seen(folder: Path, view: MirrorView) -> None:
    """Raises OSError: it cannot be written."""
    aside = folder / f".{SEEN}.partial"
    aside.write_text(json.dumps(view.model_dump(), sort_keys=True), "utf-8")
    aside.replace(folder / SEEN)


def mirrors_in(folder: Path) -> list[MirrorView]:
    """Of all mirrors in a lab's folder of them, by name; at most MAX_MIRRORS."""
    return [view for view in map(seen_in, _folders(folder)) if view is not None]


def _folders(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(each.name for each in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names[: 4 * MAX_MIRRORS] if is_name(name))
