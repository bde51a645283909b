"""Digests that a Croissant file gives of data beside it, compared with the bytes.

Law: only plain relative places are followed; a digest that nobody can compare here (a file elsewhere) shows nothing.
Source: Croissant 1.1, cr:FileObject (`contentUrl`, `sha256`).
"""

import json
import re
from pathlib import Path
from typing import Any

from archipel.release.index import plain_path
from archipel.release.openness.contents import digest_of
from archipel.release.openness.data_files import read_some

MAX_CROISSANT_BYTES = 16 * 1024 * 1024
MAX_OBJECTS = 100_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


def stated_digests(data: bytes) -> dict[str, str]:
    """Place, relative to the manifest's own folder or the bundle -> digest `sha256:...`; {}: it names none.

    Raises:
        ValueError: not JSON, or too large.
    """
    if len(data) > MAX_CROISSANT_BYTES:
        raise ValueError(f"a manifest of {len(data)} bytes; at most {MAX_CROISSANT_BYTES}")
    try:
        whole: Any = json.loads(data)
    except RecursionError:
        raise ValueError("a manifest nested too deep") from None
    listed = whole.get("distribution") if isinstance(whole, dict) else None
    found: dict[str, str] = {}
    for each in listed[:MAX_OBJECTS] if isinstance(listed, list) else ():
        place, digest = (
            (each.get("contentUrl"), each.get("sha256")) if isinstance(each, dict) else (None, None)
        )
        if isinstance(place, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            try:
                found[plain_path(place)] = f"sha256:{digest}"
            except ValueError:
                continue  # an address, or a place that no bundle can have: nothing here to compare
    return found


def wrong_files(folder: Path, manifests: list[str]) -> tuple[dict[str, str], frozenset[str]]:
    """(file -> how it differs from its digest, files whose digest held)."""
    wrong: dict[str, str] = {}
    held: set[str] = set()
    for manifest in manifests:
        try:
            named = stated_digests(read_some(folder / manifest, MAX_CROISSANT_BYTES + 1)[0])
        except (OSError, ValueError):
            continue  # `contents` says what is wrong with the file itself
        for place, digest in named.items():
            beside = (Path(manifest).parent / place).as_posix()
            at = next((each for each in (place, beside) if (folder / each).is_file()), None)
            if at is None:
                wrong[manifest] = f"names {place:.100}, which is not there"
            elif (folder / at).is_symlink():
                wrong[at] = "a link, which is not followed"
            elif digest_of(folder / at) == digest:
                held.add(at)
            else:
                wrong[at] = f"its bytes are not those that {manifest:.100} names"
    return wrong, frozenset(held)
