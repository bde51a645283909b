"""The pages of a lab and of a replica, wired: their source, their chronicle, the releases that they show."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archipel.cli.chronicling import CHRONICLE_FILE, Chronicling
from archipel.cli.doors import Mendable
from archipel.cli.grouped import as_one
from archipel.cli.mirroring import Mirrors

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.routing import BaseRoute

    from archipel.dashboard.source import Source
    from archipel.directory.gossip import Gossip
    from archipel.lab.lab import Lab
    from archipel.records.page_documents import KnownLabView
    from archipel.release.shown import Shelf

logger = logging.getLogger("archipel.lab")

LOOK_S = 30.0
"""Between two looks for releases that are new or changed."""
NO_PAGES = click.option(
    "--no-pages", is_flag=True, help="Serve records and blobs alone, no pages for people."
)
RELEASES = click.option(
    "--releases",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Show the releases in this folder, each a folder, on the pages.",
)


def routes(
    source: "Source",
    chronicle: Path,
    shelf: "Shelf | None" = None,
    labs: "Callable[[], Sequence[KnownLabView]] | None" = None,
    now_ms: Callable[[], int] | None = None,
    mirrors: Path | None = None,
) -> "list[BaseRoute]":
    """The routes of the pages of a lab or a replica.

    chronicle: its file, perhaps not there yet. shelf, labs: what is shown that no ledger knows.
    now_ms: the clock of a lab that operators log in at; None: they do not.
    mirrors: the folder of those that it keeps of other labs.
    """
    from starlette.routing import Route

    from archipel.dashboard.chronicle.reading import Chronicle
    from archipel.dashboard.chronicled import Chronicled
    from archipel.dashboard.http.routes import Site, page_routes
    from archipel.dashboard.sessions.routes import PATH, LoginDoor, login_routes, sessions_of
    from archipel.lab.mirrors.seen_files import mirrors_in

    series, releases = Chronicled(Chronicle(chronicle)), None if shelf is None else shelf.releases
    login: list[Route] = []
    if now_ms is not None:
        door = LoginDoor(sessions_of(source.lab), source, now_ms, series)
        login = [
            Route(PATH + each.path, each.endpoint, methods=list(each.methods or ()))
            for each in login_routes(door)
        ]
    kept = None if mirrors is None else partial(mirrors_in, mirrors)
    return page_routes(Site(source, series, releases, labs, kept), login)


class Shown(NamedTuple):
    """What pages show beside the lab."""

    releases: Path | None
    gossip: "Gossip | None" = None
    """Of other labs; None: none is shown."""
    blobs: str | None = None
    """The bucket in which the lab's blobs lie; None: in its home."""


page_options = as_one(
    "shown",
    lambda no_pages, releases: None if no_pages else Shown(releases),
    *(NO_PAGES, RELEASES),
)


@contextlib.contextmanager
def pages(
    api: "FastAPI", lab: "Lab", folder: Path, ledger: str | None, shown: Shown | None
) -> Iterator[None]:
    """Add the pages to a lab's routes, and keep what they are cut from while the block lasts.

    folder: the lab's home. ledger: where its ledger lies, if not there. shown: None: no pages.
    """
    if shown is None:
        yield
        return
    from archipel.cli.ledger_checked import LEDGER_FILE
    from archipel.lab.look_source import LabSource

    chronicle, place = folder / CHRONICLE_FILE, ledger or str(folder / LEDGER_FILE)
    with (
        shelf_of(shown.releases) as shelf,
        Chronicling(place, shown.blobs or folder / "blobs", chronicle, lab.identity.did),
    ):
        labs = None if shown.gossip is None else _labs_of(shown.gossip)
        mirrors = folder / Mirrors.FOLDER
        source, clock_ms = LabSource(lab), lab.clock_ms
        api.router.routes.extend(routes(source, chronicle, shelf, labs, clock_ms, mirrors))
        yield


def _labs_of(gossip: "Gossip") -> "Callable[[], Sequence[KnownLabView]]":
    """Other labs as a page shows them."""
    from archipel.directory.viewed import viewed

    return lambda: [viewed(each) for each in gossip.directory.shown().values()]


@contextlib.contextmanager
def shelf_of(releases: Path | None) -> "Iterator[Shelf | None]":
    """The releases below a folder, looked at now and again in a thread while the block lasts; None: there is no folder."""
    if releases is None:
        yield None
        return
    from archipel.release.shown import Shelf

    if not releases.is_dir():
        raise Mendable(f"--releases: {releases} is no folder; make it, and put releases in it")
    shelf, over = Shelf(releases), threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                shelf.look()
            except OSError as error:
                logger.warning("releases unreadable", extra={"reason": str(error)})
            over.wait(LOOK_S)

    threading.Thread(target=look, name="releases", daemon=True).start()
    try:
        yield shelf
    finally:
        over.set()
