"""How soon a version reaches the last node, and what the lab sends for it: from the lab alone, or passed on.

A real lab process and a real process for each node on 127.0.0.1; lines are shaped by the limits that lab and nodes
have of their own (token buckets over what they send), so nothing needs root. Downlinks are not shaped. Every version
is random bytes of one size, so nothing of it is known before. Times are from the lab's receipt for a version
until the last node has it whole and hashed.
"""

import asyncio
import random
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archipel.bench.intervals import mean_of_seeds
from archipel.bench.lab_load import with_sources
from archipel.bench.lab_run import Learner, Unexpected, open_run, upload
from archipel.bench.lab_wire import Voice, Wire, WireBroken, refer
from archipel.bench.mesh_crowd import Crowd
from archipel.bench.site import Site, SiteFailed
from archipel.identity import Identity
from archipel.market.dissemination import plan as reckon
from archipel.records.kinds.update import UpdateSpec
from archipel.records.sources import chunk_bytes

Tell = Callable[[str], None]
BYTES_PER_MBIT = 125_000
START_LIMIT_S = 300.0
"""Of all processes, on a machine that is busy with other things."""
SETTLE_S = 1.0
"""Between the last answer and the next version: by then every node waits again."""
SENT = re.compile(
    r'^archipel_response_body_bytes_total\{method="GET",route="/blobs/\{digest\}"\} (\S+)$', re.M
)


@dataclass(frozen=True)
class Arm:
    """Who serves, and how."""

    name: str
    serving: Callable[[int], int]
    """Of so many nodes, so many serve."""
    times: int = 1
    """Their uplink is so many times the lab's."""
    liars: Callable[[int], int] = lambda _: 0
    """Of those that serve, so many send other bytes."""


ARMS = (
    Arm("star", lambda _: 0),
    Arm("mirrors", lambda num: max(num // 8, 1), 4),
    Arm("tree", lambda num: num),
    Arm("liars", lambda num: num, 1, lambda num: max(num // 5, 1)),
)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    nodes: tuple[int, ...] = (4, 8, 16)
    blob_mb: float = 4.0
    uplink_mbit: float = 16.0
    """Of the lab, and of each node that serves."""
    versions: int = 3
    """Of each arm and number of nodes: the trials."""
    seed: int = 0

    @property
    def size(self) -> int:
        """Bytes of a version."""
        return int(self.blob_mb * 2**20)

    @property
    def uplink(self) -> int:
        """Bytes a second."""
        return int(self.uplink_mbit * BYTES_PER_MBIT)


QUICK = replace(Plan(), nodes=(4,), blob_mb=2.0, versions=2)


@dataclass(frozen=True)
class Trial:
    """One version."""

    tail_s: float
    """Until the last node had it."""
    half_s: float
    """Until half of the nodes had it."""
    of_peers: float
    """Share of all bytes that came from other nodes."""


@dataclass(frozen=True)
class Spreading:
    """One arm with one number of nodes."""

    arm: str
    nodes: int
    trials: list[Trial]
    lab_blobs: float
    """Times that the lab sent the version, per version."""
    reckoned: str
    """The lab's own plan for it, by the same function."""
    reckoned_s: float
    faults: int


class BigLearner(Learner):
    """Publishes versions of many bytes, as many as are wanted."""

    versions: int = 1
    make: Callable[[int], bytes] = lambda _: b""
    operator: Voice | None = None

    async def _publish(self, work: str, spec: UpdateSpec) -> None:
        if spec.version >= self.versions or self.operator is None:
            await asyncio.sleep(3600.0)
            return
        data = self.make(spec.version)
        await upload(self.wire, self.operator, data)
        await asyncio.sleep(SETTLE_S)
        self.anchors[spec.version] = refer(data)
        await super()._publish(work, spec)


def measure(
    plan: Plan, arms: tuple[str, ...], environment: Mapping[str, str], tell: Tell = lambda _: None
) -> Iterator[Spreading]:
    """Each arm with each number of nodes, in folders that are gone afterwards.

    Raises:
        SiteFailed: a process ended or did not come in time.
    """
    for nodes in plan.nodes:
        for arm in ARMS:
            if not arms or arm.name in arms:
                tell(f"{arm.name}: {nodes} nodes")
                with tempfile.TemporaryDirectory(prefix="archipel-bench-") as folder:
                    yield _spreading(plan, arm, nodes, Path(folder), with_sources(environment))


def _spreading(
    plan: Plan, arm: Arm, nodes: int, folder: Path, environment: Mapping[str, str]
) -> Spreading:
    uplinks = [plan.uplink * arm.times] * arm.serving(nodes)
    made = reckon(plan.size, chunk_bytes(plan.size), plan.uplink, uplinks, nodes)
    with Site(folder, environment) as site:
        site.start_lab(options=("--uplink-mbit", str(plan.uplink_mbit)))
        crowd = Crowd(site, uplinks, nodes, arm.liars(nodes), environment)
        try:
            limit_s = START_LIMIT_S + 5.0 * plan.versions * (
                plan.size * nodes / plan.uplink + SETTLE_S
            )
            told, published = asyncio.run(_published(plan, site, crowd, nodes, limit_s))
            sent = SENT.search(site.get("/metrics") or "")
        finally:
            crowd.end()
    trials = []
    for version in range(plan.versions):
        came = [each for each in told if each.get("version") == version]
        after = sorted(each["at_s"] - published[version] for each in came)
        total = sum(each["bytes"] for each in came)
        of_peers = sum(each["of_peers"] for each in came) / total
        trials.append(Trial(after[-1], after[(len(after) - 1) // 2], of_peers))
    return Spreading(
        arm=arm.name,
        nodes=nodes,
        trials=trials,
        lab_blobs=float(sent[1] if sent else "nan") / plan.size / plan.versions,
        reckoned=made.reckoned,
        reckoned_s=made.chosen.tail_ms / 1000,
        faults=sum("fault" in each for each in told),
    )


async def _published(
    plan: Plan, site: Site, crowd: Crowd, nodes: int, limit_s: float
) -> tuple[list[dict[str, Any]], dict[int, float]]:
    """(what the nodes said, when each version was published)."""
    said, told = await crowd.lines(), list[dict[str, Any]]()
    try:
        async with asyncio.timeout(limit_s):
            await _until(lambda: len(told) == nodes, said, told)
            async with _learning(plan, site, nodes) as learner:
                wanted = nodes * plan.versions
                await _until(lambda: sum("version" in each for each in told) == wanted, said, told)
    except (TimeoutError, Unexpected, WireBroken) as error:
        why = str(error) or "too slow"
        raise SiteFailed(f"not all nodes had all versions in {limit_s:.0f} s: {why}") from None
    return told, learner.told


async def _until(
    holds: Callable[[], bool], said: "asyncio.Queue[dict[str, Any]]", told: list[dict[str, Any]]
) -> None:
    """Listen to the nodes until something holds."""
    while not holds():
        each = await said.get()
        if not each:
            raise SiteFailed("a node ended before its time")
        told.append(each)


@asynccontextmanager
async def _learning(plan: Plan, site: Site, nodes: int) -> AsyncIterator[BigLearner]:
    """A run is open, and its learner publishes meanwhile."""
    place, lab = urlsplit(site.url), site.get("/lab")["lab"]
    wires = [await Wire.connect(str(place.hostname), int(place.port or 0)) for _ in range(2)]
    operator = Voice(lab, site.operator())
    learner = BigLearner(Voice(lab, Identity.from_seed(b"learner".ljust(32))), wires[1], nodes, 0.0)
    learner.versions, learner.operator, learner.max_staleness = plan.versions, operator, 0
    chance = random.Random(plan.seed)  # noqa: S311  bytes that nobody has, no secret
    learner.make = lambda _: chance.randbytes(plan.size)
    try:
        await open_run(wires[0], operator, nodes, learner.voice.did, 0)
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(learner.live())
            yield learner
            living.cancel()
    finally:
        for wire in wires:
            wire.close()


def to_json(found: list[Spreading]) -> list[dict[str, Any]]:
    """For machines."""
    return [asdict(each) for each in found]


def table(found: list[Spreading]) -> str:
    """For people."""
    rows = [
        "arm       nodes  last node has it, s [95%]     half, s  reckoned, s  lab sent, x  of peers"
    ]
    for each in found:
        tail = mean_of_seeds([trial.tail_s for trial in each.trials])
        half = mean_of_seeds([trial.half_s for trial in each.trials])
        share = mean_of_seeds([trial.of_peers for trial in each.trials])
        rows.append(
            f"{each.arm:<9} {each.nodes:>5}  {tail!s:<27} {half.mean:>8.2f}  {each.reckoned_s:>11.2f}  "
            f"{each.lab_blobs:>11.2f}  {share.mean:>7.0%}"
        )
    return "\n".join(rows)
