"""What a lab costs without a network: restarts, statements into SQLite, and the parts of both by number.

Times of parts are processor time, which a busy machine disturbs least; a restart's is wall-clock, because
that is what an operator waits for, with its processor time beside it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archipel.bench.lab_filler import Filler, grown
from archipel.bench.lab_load import with_sources
from archipel.bench.lab_run import RUN
from archipel.bench.processor import process_seconds
from archipel.bench.site import Site
from archipel.blobs import BlobStore
from archipel.identity import Envelope, Identity, did_to_public_key, sign, verify
from archipel.lab.admission import admit
from archipel.lab.apply import apply
from archipel.lab.arrivals import open_record
from archipel.lab.commit import Committer
from archipel.lab.company import crowds
from archipel.lab.decide import grant, opportunities
from archipel.lab.entry import Entry
from archipel.lab.orders import Orders, page
from archipel.lab.recovery import recover
from archipel.lab.server import collect_seldom
from archipel.lab.snapshots import decode_state, encode_state
from archipel.lab.state import LabState
from archipel.lab.views import node_views, run_view
from archipel.ledger.location import open_log
from archipel.ledger.verification import lab_key
from archipel.records.statements import (
    RECORD_TYPE,
    LeaseRequested,
    WorkAnswered,
    decode,
    encode,
)

RESTART_NODES = 1000
FLOW_GROUP = 256
"""Statements that come between two looks of the event loop."""


@dataclass(frozen=True)
class Restart:
    """One start of a real lab process over a ledger of `entries`."""

    entries: int
    answer_s: float
    """From starting the process until /healthz answers."""
    cpu_s: float
    open_cpu_s: float
    """Processor seconds to open and check the log, in this process."""
    recover_cpu_s: float
    """Processor seconds to load the snapshot and fold what came after it."""


def measure_restarts(
    sizes: Sequence[int],
    folder: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> list[Restart]:
    """Grow one ledger and start a lab over it at each size."""
    found: list[Restart] = []
    home = folder / "lab"

    for size in grown(home, sizes, min(RESTART_NODES, min(sizes) // 8), tell):
        open_cpu_s, recover_cpu_s = _parts(home)
        with Site(folder, with_sources(environment)) as site:
            began = time.monotonic()
            site.start_lab()
            answer_s = time.monotonic() - began
            cpu_s = process_seconds(site.pid("lab"))
            site.kill("lab")
        found.append(Restart(size, answer_s, cpu_s, open_cpu_s, recover_cpu_s))
        tell(f"{size} entries: {answer_s:.1f} s ({cpu_s:.1f} s processor)")
    return found


def _parts(home: Path) -> tuple[float, float]:
    identity = Identity.load(home / "lab.key")
    began = time.process_time()
    log = open_log(
        home / "ledger.sqlite", lab_key(identity.did).name, identity, home / "ledger.head"
    )
    try:
        opened = time.process_time()
        recover(identity.did, log, BlobStore(home / "blobs"))
        return opened - began, time.process_time() - opened
    finally:
        log.close()


@dataclass(frozen=True)
class Flow:
    """Signed answers into SQLite: everything but HTTP."""

    statements: int
    wall_s: float
    cpu_s: float
    parts_us: dict[str, float]
    """Processor microseconds of one statement, by part."""


def measure_flow(statements: int, folder: Path) -> Flow:
    """Answers that wait in memory are opened, admitted, folded and appended in groups, durably."""
    identity = Identity.load_or_create(folder / "lab.key")
    filler = Filler(statements, None, identity, groups=statements)
    filler.learn()
    said: list[bytes] = []
    for author in filler.people.values():
        work = filler.request(author, ("rollout",))
        if work is not None:
            answered = filler.answered(author, work)
            said.append(_signed(author, answered))
    state = filler.state
    log = open_log(folder / "flow.sqlite", lab_key(identity.did).name, identity)
    try:
        parts = _flow_parts(state, said)
        collect_seldom()  # as a lab does
        wall, cpu = time.monotonic(), time.process_time()
        asyncio.run(
            _pour(Committer(log, state, lambda *_: None, lambda: None, in_thread=True), said)
        )
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        entries = [Entry(0, *_opened(data)).to_bytes() for data in said]
        with _timed(parts, "append", len(said)):
            for start in range(0, len(entries), FLOW_GROUP):
                log.append(entries[start : start + FLOW_GROUP])
    finally:
        log.close()
    return Flow(len(said), wall, cpu, parts)


def _signed(author: Identity, answered: WorkAnswered) -> bytes:
    did_to_public_key(author.did)  # a lab has seen the key at joining
    return sign(author, encode(answered), RECORD_TYPE).to_json()


async def _pour(committer: Committer, said: Sequence[bytes]) -> None:
    waiting = []
    for number, data in enumerate(said):
        envelope, answered = _opened(data)
        admit(committer.ahead, answered, time.time_ns() // 1_000_000, lambda _: True)
        entry = Entry(time.time_ns() // 1_000_000, envelope, answered)
        waiting.append(committer.record([entry]))
        if number % FLOW_GROUP == FLOW_GROUP - 1:
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)


def _opened(data: bytes) -> tuple[Envelope, WorkAnswered]:
    envelope, statement = open_record(data)
    if not isinstance(statement, WorkAnswered):
        raise TypeError(f"a flow of answers holds {statement.kind}")
    return envelope, statement


def _flow_parts(state: LabState, said: Sequence[bytes]) -> dict[str, float]:
    parts: dict[str, float] = {}
    now_ms, num = time.time_ns() // 1_000_000, len(said)
    with _timed(parts, "parse", num):
        envelopes = [Envelope.from_json(data) for data in said]
    with _timed(parts, "verify", num):
        for envelope in envelopes:
            verify(envelope, RECORD_TYPE)
    with _timed(parts, "decode", num):
        for envelope in envelopes:
            decode(envelope.payload)
    opened = [_opened(data) for data in said]
    with _timed(parts, "admit", num):
        for _, answered in opened:
            admit(state, answered, now_ms, lambda _: True)
    with _timed(parts, "fold", num):
        for _, answered in opened:
            state = apply(state, answered, now_ms)
    with _timed(parts, "encode", num):
        for envelope, answered in opened:
            Entry(now_ms, envelope, answered).to_bytes()
    return parts


@contextmanager
def _timed(parts: dict[str, float], name: str, count: int) -> Iterator[None]:
    """Processor microseconds of each of `count` repetitions inside the block."""
    began = time.process_time()
    yield
    parts[name] = (time.process_time() - began) / count * 1e6


@dataclass(frozen=True)
class Costs:
    """Processor microseconds of one of each, in a lab of so many nodes."""

    nodes: int
    us: dict[str, float]


def measure_costs(nodes: int) -> Costs:
    """What one more statement, lease or page costs among `nodes` nodes."""
    filler = Filler(nodes, None, Identity.from_seed(b"lab".ljust(32)), groups=min(nodes, 150))
    filler.learn()
    authors = list(filler.people.values())[: min(nodes, 100)]
    now_ms = time.time_ns() // 1_000_000
    us: dict[str, float] = {}
    company = crowds(filler.state, now_ms)
    asked = [
        LeaseRequested(
            lab=filler.state.lab, author=author.did, seq=now_ms, kinds=("rollout",), holding=()
        )
        for author in authors
    ]
    state, given = filler.state, None
    with _timed(us, "grant", len(asked)):
        for request in asked:
            given = grant(state, request, now_ms, opportunities(state), company)
    if given is None:
        raise TypeError("a lab with work to hand out grants none")
    with _timed(us, "fold a grant", 200):
        for _ in range(200):
            apply(state, given, now_ms)
    after = apply(state, given, now_ms)
    with _timed(us, "all nodes' speed", 1):
        crowds(after, now_ms)
    orders = Orders(after)
    with _timed(us, "page of 100 nodes", 1):
        node_views(after, now_ms, page(orders.nodes, 0, 100))
    with _timed(us, "page of a run", 20):
        for _ in range(20):
            run_view(after, after.runs[RUN], now_ms)
    with _timed(us, "write a snapshot", 1):
        data = encode_state(after)
    with _timed(us, "read a snapshot", 1):
        decode_state(data)
    return Costs(nodes, us)
