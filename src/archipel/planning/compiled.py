"""The package's TOML as plain data, read once and kept as JSON where Python keeps its own compiled files.

Reading TOML takes longer than answering a question. What is kept says which files, how long and how new, it was
made from; it is made anew when they differ, and done without where nothing may be written.
Law: what comes out is what the files say, whether it was kept or not.
"""

import contextlib
import functools
import json
import os
import sys
import tomllib
from datetime import date
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of one folder's tables as JSON; they have about one."""


@functools.cache
def folder(name: str) -> dict[str, dict[str, Any]]:
    """Every TOML file of a folder of this room, by its name without the ending, in their order."""
    files = sorted((_HERE / name).glob("*.toml"))
    made_of = [[each.name, (at := each.stat()).st_size, at.st_mtime_ns] for each in files]
    place = Path(cache_from_source(str(_HERE / name / "all.py"))).with_suffix(".json")
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        kept = json.loads(_kept(place))
        if kept["made_of"] == made_of and list(kept["files"]) == [each.stem for each in files]:
            return dict(kept["files"])
    tables = {each.stem: tomllib.loads(each.read_text("utf-8")) for each in files}
    text = json.dumps({"made_of": made_of, "files": tables}, default=date.isoformat)
    if not sys.dont_write_bytecode:
        _keep(place, text)
    return dict(json.loads(text)["files"])


def _kept(place: Path) -> bytes:
    """What is kept, nothing if it is no file or longer than anything that is kept."""
    if not place.is_file() or place.stat().st_size > MAX_KEPT_BYTES:
        return b""
    return place.read_bytes()


def _keep(place: Path, text: str) -> None:
    """Write it whole or not at all; whoever reads beside us sees the old one or the new one."""
    part = place.with_name(f"{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(exist_ok=True)
        try:
            part.write_text(text, "utf-8")
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
