"""Our distributed arm: a real lab, update process and nodes on this machine, timed by the ledger.

The clock starts when version 0 is published (the state in which the other arms start) and a version's
time is that of its publication. Loading programs and making version 0 is set-up; the nodes' first
fetch of weights is not. Law: nothing but the run itself works while it is timed.
"""

import asyncio
import base64
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from archipel.bench.peers_job import Result
from archipel.bench.processor import tree_seconds
from archipel.bench.site import Site, SiteFailed
from archipel.blobs import BlobStore
from archipel.lab.entry import read_entry
from archipel.model.directory import read_model
from archipel.model.tokenizer import Tokenizer
from archipel.node.client import LabClient
from archipel.node.operator import Vocabulary, fetch_version, open_run
from archipel.records.recipe import Recipe
from archipel.records.statements import VersionPublished
from archipel.training.groups import stop_ids
from archipel.work.export import write_version

RUN_LIMIT_S = 3600.0
JOIN_LIMIT_S = 120.0
LOOK_S = 0.25
"""Between looks at the run: rare, because the lab that answers shares the cores."""
PAGE = 1000
UPDATE_ONLY = ("--kinds", "update")
"""No evaluations beside training: the judge comes afterwards, as for the other arms."""


def train(
    recipe: Recipe, secret: bytes, start: Path, folder: Path, environment: Mapping[str, str],
    nodes: int,
) -> tuple[Result, dict[int, dict[str, Tensor]]]:  # fmt: skip
    """Run the recipe over `nodes` nodes; the result and the weights of the versions to be judged.

    Raises:
        SiteFailed: a process died or the run did not end in time.
    """
    name = recipe.run.name
    began = time.perf_counter()
    with Site(folder, environment) as site:
        site.start_lab()
        if recipe.environment.secret is not None:
            site.keep_secret("update", recipe.environment.secret, secret)
        site.start_update(options=UPDATE_ONLY)
        for number in range(nodes):
            site.start_node(f"node-{number}")
        joined = lambda: len(site.get("/nodes") or []) == nodes + 1  # noqa: E731  reads as a word
        site.wait_until(joined, "everybody to join", JOIN_LIMIT_S)
        started_s = time.perf_counter() - began
        opened = time.perf_counter()
        asyncio.run(_open(site, recipe, start))
        _wait(site, name, 0)
        constructed_s = time.perf_counter() - opened
        cpu_s = tree_seconds()
        _wait(site, name, recipe.run.versions)
        cpu_s = tree_seconds() - cpu_s
        times = _published(site)
        every = recipe.evaluation.every
        judged = [version for version in times if version % every == 0 and version > 0]
        states = {version: asyncio.run(_fetch(site, name, version)) for version in judged}
        rewards = tuple(site.get(f"/runs/{name}")["rewards"])
    share = cpu_s / max(times[recipe.run.versions] - times[0], 1e-9)
    points = tuple(
        (version, at_s - times[0], (at_s - times[0]) * share)
        for version, at_s in sorted(times.items())
        if version > 0
    )
    return Result("archipel, distributed", started_s, constructed_s, points, rewards), states


async def _open(site: Site, recipe: Recipe, start: Path) -> None:
    tokenizer = Tokenizer.from_directory(start)
    vocabulary = Vocabulary(tokenizer.vocab_size, stop_ids(tokenizer))
    client = LabClient(site.url, site.operator())
    try:
        await open_run(client, recipe, vocabulary, start, (site.did("update"),))
    finally:
        await client.close()


def _wait(site: Site, name: str, version: int) -> None:
    deadline = time.monotonic() + RUN_LIMIT_S
    while (run := site.get(f"/runs/{name}")) is None or run["version"] < version:
        site.check_alive()
        if time.monotonic() > deadline:
            raise SiteFailed(f"{name} is not at version {version} after {RUN_LIMIT_S:.0f} s")
        time.sleep(LOOK_S)


def _published(site: Site) -> dict[int, float]:
    """Version -> second at which the ledger took it in; the site has one run."""
    times: dict[int, float] = {}
    start = 0
    while page := site.get(f"/ledger/entries?start={start}&limit={PAGE}"):
        for entry in (read_entry(base64.b64decode(text)) for text in page):
            said = entry.statement
            if isinstance(said, VersionPublished):
                times[said.version] = entry.at_ms / 1000
        start += len(page)
    return times


async def _fetch(site: Site, name: str, version: int) -> dict[str, Tensor]:
    client = LabClient(site.url, site.operator())
    try:
        support = site.folder / "export" / "support"
        store = BlobStore(site.folder / "export" / "blobs")
        links = await fetch_version(client, store, name, version, support)
    finally:
        await client.close()
    out = site.folder / "export" / f"version-{version}"
    write_version(links, support, out)
    return {key: value.detach() for key, value in read_model(out).named_parameters()}
