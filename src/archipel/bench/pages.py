"""What the pages of a large lab cost: bytes of each, time of the first that asks and of those who ask in the same second.

The lab is `pages_world`: its state is folded as a lab's is, its chronicle is read from the disk, and pages are answered by
their own routes, but for the socket.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.applications import Starlette

from archipel.bench.pages_world import PagesWorld, pages_world
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.dashboard.chronicled import Chronicled
from archipel.dashboard.http.files import KINDS, read
from archipel.dashboard.http.routes import Site, page_routes
from archipel.dashboard.pages import paths
from archipel.lab.look import Look

FIRST = "the first page, with all it loads"


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a lab, and how often each page is asked for."""

    versions: int = 1000
    nodes: int = 10_000
    rounds: int = 7


QUICK = Plan(60, 200, 3)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one page."""

    page: str
    num_bytes: int
    first_ms: float
    """Median over rounds, each from another second, so nothing of it was at hand."""
    slowest_ms: float
    again_ms: float
    """Median, asked again in the same second."""


class Still:
    """A lab that stands: what pages are cut from, with a clock that the measurement moves."""

    is_lab, problem = True, None

    def __init__(self, world: PagesWorld) -> None:
        self._state, self.now_ms, self.lab = world.state, world.now_ms, world.state.lab
        self._crowd = Look(world.state, world.now_ms, {}).crowd

    def look(self) -> Look:
        """At the same state, later."""
        return Look(self._state, self.now_ms, {}, self._crowd)

    def head(self) -> str:
        """None is signed for it here."""
        return ""

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        """None: what an entry costs is the ledger's to measure."""
        return ()

    async def grown(self, size: int, limit_s: float) -> int:
        """It does not."""
        await asyncio.sleep(limit_s)
        return size


def costs(home: Path, plan: Plan) -> Iterator[Cost]:
    """One page after another, then the first page with all that a browser loads for it."""
    world = pages_world(home, plan.versions, plan.nodes)
    source = Still(world)
    site = Site(source, Chronicled(Chronicle(home / "chronicle.sqlite")))
    asking = asyncio.Runner()
    with asking:
        found = []
        for page in _pages(source.look()):
            found.append(asking.run(_cost(site, source, page, plan.rounds)))
            yield found[-1]
    loaded = sum(len(read(name)[0]) for name in KINDS)
    first = found[0]
    yield Cost(FIRST, first.num_bytes + loaded, first.first_ms, first.slowest_ms, first.again_ms)


def _pages(look: Look) -> list[str]:
    run = look.runs(0, 1)[0].run
    node = look.nodes(0, 1, "work")[0]
    return [
        paths.ROOT, paths.path("runs"), paths.run(run), paths.path("nodes"), paths.asked(paths.path("nodes"), by="earned"),
        paths.node(node.node), paths.path("operators"), paths.operator(node.operator or node.node), paths.path("audits"),
        paths.path("ledger"), f"{paths.run(run)}.json",
    ]  # fmt: skip


async def _cost(site: Site, source: Still, page: str, rounds: int) -> Cost:
    first: list[float] = []
    again: list[float] = []
    app = httpx.ASGITransport(Starlette(routes=page_routes(site)))
    async with httpx.AsyncClient(transport=app, base_url="http://lab") as client:
        for _ in range(rounds):
            source.now_ms += 1000
            for times in (first, again):
                start = time.perf_counter()
                answer = await client.get(page)
                times.append((time.perf_counter() - start) * 1000)
                answer.raise_for_status()
    return Cost(
        page, len(answer.content), statistics.median(first), max(first), statistics.median(again)
    )
