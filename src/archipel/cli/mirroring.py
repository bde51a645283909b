"""Mirrors that a lab keeps of other labs, each by a process of its own: a hostile lab can stop nothing but its own mirror.

The child asks its lab round after round at low priority, within a bound of memory, and writes what it saw beside the mirror,
where the lab's routes and pages read it. Parts: `mirror_options`, `Mirrors` (what they say), `mirrored` (the children,
from outside), `bounded` (a child).
"""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import click

from archipel.cli.beside import Beside, serve
from archipel.cli.doors import LabUrl, Mendable
from archipel.cli.grouped import as_one

if TYPE_CHECKING:
    from archipel.records.mirror_documents import MirrorView

KEY = "witness.key"
"""In a lab's home: heads and evidence are signed by a key that signs nothing else."""
PROGRAM = "archipel.cli.mirroring"
MAX_MEMORY = 6 * 2**30
"""Bytes of address space of a child: who shows a ledger without end ends its own mirror."""
GIB = 2**30
MAX_COMPARED = 16


@dataclass(frozen=True)
class Mirrors:
    """Whose mirrors are kept, and how."""

    FOLDER: ClassVar[str] = "mirrors"
    """In a lab's home."""

    urls: dict[str, str]
    """By name."""
    compare: tuple[str, ...]
    gb: float
    every_s: float
    patience_s: float


def _named(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """By name; without one, an address names itself."""
    from archipel.records.mirror_documents import MAX_MIRRORS, is_name

    named: dict[str, str] = {}
    for each in given:
        name, equals, url = each.partition("=")
        if not equals or "/" in name:
            name, url = "", each
        url = LabUrl().convert(url, option, context)
        name = name or re.sub(r"[^A-Za-z0-9.-]+", "-", urlsplit(url.split(",")[0]).netloc).strip(
            "-."
        )
        if not is_name(name) or name in named:
            raise click.BadParameter(
                f"{name!r:.80} names no mirror, or two; give each a name of letters, digits, dots and hyphens: NAME=URL"
            )
        named[name] = url
    if len(named) > MAX_MIRRORS:
        raise click.BadParameter(f"{len(named)} labs; one lab mirrors at most {MAX_MIRRORS}")
    return named


_OPTIONS = (
    click.option(
        "--mirror",
        "mirror_urls",
        multiple=True,
        metavar="[NAME=]URL[,URL]",
        callback=_named,
        help="Keep a mirror of this lab in HOME/mirrors/NAME: ledger, blobs, what was seen of it. Once for each lab.",
    ),
    click.option(
        "--compare",
        "compare_urls",
        multiple=True,
        metavar="URL",
        type=LabUrl(),
        help="Compare heads with what this lab saw of the same ones, besides all that are mirrored.",
    ),
    click.option(
        "--mirror-gb",
        default=20.0,
        show_default=True,
        type=click.FloatRange(0.0),
        help="Most blobs that are kept of one mirrored lab; 0: ledgers alone.",
    ),
    click.option(
        "--mirror-every",
        "mirror_every_s",
        default=30.0,
        show_default=True,
        type=click.FloatRange(0.1, 86_400.0),
        help="Seconds between looks at a mirrored lab.",
    ),
    click.option(
        "--mirror-patience",
        "mirror_patience_s",
        default=120.0,
        show_default=True,
        type=click.FloatRange(0.1, 86_400.0),
        help="Seconds without an answer after which a mirrored lab is shown as silent.",
    ),
)


def _mirrors(
    mirror_urls: dict[str, str],
    compare_urls: tuple[str, ...],
    mirror_gb: float,
    mirror_every_s: float,
    mirror_patience_s: float,
) -> Mirrors:
    """What the options say. Raises Mendable: too many to compare with."""
    places = tuple(dict.fromkeys([*compare_urls, *mirror_urls.values()]))
    if len(places) > MAX_COMPARED + len(mirror_urls):
        raise Mendable(f"--compare: {len(compare_urls)} addresses; at most {MAX_COMPARED}")
    return Mirrors(mirror_urls, places, mirror_gb, mirror_every_s, mirror_patience_s)


mirror_options = as_one("mirrors", _mirrors, *_OPTIONS)
"""Of a lab that mirrors others."""


@contextlib.contextmanager
def mirrored(mirrors: Mirrors, home: Path) -> Iterator[None]:
    """Keep them while the block lasts."""
    with contextlib.ExitStack() as ending:
        for name, url in mirrors.urls.items():
            folder = home / Mirrors.FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            told = {
                "name": name,
                "url": url,
                "folder": str(folder),
                "key": str(home / KEY),
                "quota": int(mirrors.gb * GIB),
                "every_s": mirrors.every_s,
                "patience_s": mirrors.patience_s,
                "compare": [each for each in mirrors.compare if each != url],
            }
            ending.enter_context(Beside(PROGRAM, f"mirror {name}", told))
        yield


def follow(told: dict[str, Any], wait: Callable[[float], bool]) -> None:
    """Go round after round; wait: for so long, and whether to end.

    Raises: OSError, BlobError: this machine's disk. LedgerError, IdentityError: what lies there is no mirror of ours.
    """
    from archipel.cli.mirror_rounds import Mirrored, Rounds
    from archipel.identity import Identity
    from archipel.lab.mirrors.seen_files import keep_seen

    folder = Path(told["folder"])
    what = Mirrored(
        told["name"],
        told["url"],
        folder,
        None,
        told["quota"] or None,
        told["patience_s"],
        tuple(told["compare"]),
    )
    rounds = Rounds(what, Identity.load_or_create(Path(told["key"])))
    view = begun(folder, told["name"], told["url"])
    rounds.resume(view)
    while True:
        view = rounds.once(view)
        keep_seen(folder, view)
        if wait(told["every_s"]):
            return


def begun(folder: Path, name: str, url: str) -> "MirrorView":
    """What was seen so far, if of this lab."""
    from archipel.lab.mirrors.seen_files import seen_in
    from archipel.records.mirror_documents import MirrorView

    view = seen_in(folder)
    known = MirrorView(name=name, lab="", url=url) if view is None else view
    return known.model_copy(update={"name": name, "url": url})


def bounded(told: dict[str, Any], over: threading.Event) -> None:
    """What a child does."""
    _bound_memory()
    threading.Thread(target=_end_at_once, args=(over,), daemon=True).start()
    follow(told, over.wait)


def _end_at_once(over: threading.Event) -> None:
    """In the middle of a round: a mirror goes on from wherever it was killed, and its lab's end waits for no stranger."""
    over.wait()
    os._exit(0)


def _bound_memory() -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):  # a lower bound stands already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


if __name__ == "__main__":
    sys.exit(serve(bounded))
