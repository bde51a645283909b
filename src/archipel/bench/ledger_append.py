"""Signed records on their way into a ledger: opened, admitted, folded and appended in groups, durably; and appended raw.

Ways: `one by one` is what a lab does with each record that comes over HTTP, without HTTP, in one thread, the disk
in another; `beside` the same with a second process that looks at signatures (`lab.examining`), as replays and
restarts do; `raw` appends entries that are there, in groups, which is the ledger's own part.
"""

import asyncio
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from archipel.bench.lab_filler import Filler
from archipel.bench.processor import tree_seconds
from archipel.identity import Identity, did_to_public_key, sign
from archipel.lab.admission import admit
from archipel.lab.arrivals import open_record
from archipel.lab.commit import Committer
from archipel.lab.entry import Entry
from archipel.lab.examining import read_entries
from archipel.lab.server import SWITCH_S, collect_seldom
from archipel.lab.state import LabState
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.verification import lab_key
from archipel.records.statements import RECORD_TYPE, WorkAnswered, encode

FLOW_GROUP = 256
"""Records that come between two looks of the event loop."""
RAW_GROUP = 1024
WAYS = ("one by one", "beside", "raw")

Entries = Callable[[Sequence[bytes]], Iterator[Entry]]


@dataclass(frozen=True)
class Crowd:
    """A lab whose nodes hold leases, and the signed answer to each."""

    identity: Identity
    state: LabState
    said: list[bytes]


def crowd_of(records: int) -> Crowd:
    """A lab with so many nodes, each with a lease in its hands; every answer is signed."""
    identity = Identity.from_seed(b"ledger".ljust(32))
    filler = Filler(records, None, identity, groups=records)
    filler.learn()
    said: list[bytes] = []
    for author in filler.people.values():
        work = filler.request(author, ("rollout",))
        if work is None:
            raise TypeError(f"a lab with work to hand out grants none after {len(said)} leases")
        did_to_public_key(author.did)  # a lab has seen the key at joining
        said.append(sign(author, encode(filler.answered(author, work)), RECORD_TYPE).to_json())
    return Crowd(identity, filler.state, said)


@dataclass(frozen=True)
class Appended:
    """Records a second; by the clock, and by the processor time of all processes that took part."""

    way: str
    records: int
    per_s: float
    per_cpu_s: float


def append(crowd: Crowd, way: str, location: str) -> Appended:
    """All of a crowd's records into a new ledger. Of the ways with a fold the second half is timed: whatever is
    started has started then, and pages and caches are as they stay.
    """
    log = open_log(location, lab_key(crowd.identity.did).name, crowd.identity)
    try:
        if way == "raw":
            return _raw(crowd, log)
        collect_seldom()  # as a lab does
        entries = {"one by one": _one_by_one, "beside": _beside}[way]
        return asyncio.run(_pour(crowd, log, entries, way))
    finally:
        log.close()


def _raw(crowd: Crowd, log: Log) -> Appended:
    entries = [_entry(data) for data in crowd.said]
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, len(entries), RAW_GROUP):
        log.append(entries[start : start + RAW_GROUP])
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    return Appended("raw", len(entries), len(entries) / took, len(entries) / cpu)


async def _pour(crowd: Crowd, log: Log, entries: Entries, way: str) -> Appended:
    durable = 0

    def on_durable(first: int, group: Sequence[Entry]) -> None:
        nonlocal durable
        durable += len(group)

    committer = Committer(log, crowd.state, on_durable, lambda: None, in_thread=True)
    half, waiting = len(crowd.said) // 2, []
    began, ended_cpu = 0.0, _ended_children_s()
    with _switching():
        for number, entry in enumerate(entries(crowd.said)):
            if number == half:
                await committer.settled()
                began, ended_cpu = time.monotonic(), ended_cpu + _living_s()
            admit(committer.ahead, entry.statement, _now_ms(), lambda _: True)
            waiting.append(committer.record([entry]))
            if number % FLOW_GROUP == FLOW_GROUP - 1:
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        took = time.monotonic() - began
    cpu = time.process_time() + _ended_children_s() - ended_cpu
    num = len(crowd.said) - half
    if durable != len(crowd.said) or log.size != durable:
        raise ValueError(f"{durable} of {len(crowd.said)} records became durable")
    return Appended(way, num, num / took, num / cpu)


def _one_by_one(said: Sequence[bytes]) -> Iterator[Entry]:
    for data in said:
        envelope, statement = open_record(data)
        if not isinstance(statement, WorkAnswered):
            raise TypeError(f"a flow of answers holds {statement.kind}")
        yield Entry(_now_ms(), envelope, statement)


def _beside(said: Sequence[bytes]) -> Iterator[Entry]:
    for _, entry in read_entries((_entry(data) for data in said), here_first=0):
        yield entry


def _entry(record: bytes) -> bytes:
    return b'{"at_ms":%d,"record":%b}' % (_now_ms(), record)


def _living_s() -> float:
    """Processor seconds so far, of this process and those it has started (0 for those where nobody can tell)."""
    below = tree_seconds()
    return time.process_time() + (0.0 if math.isnan(below) else below)


def _ended_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _switching() -> Iterator[None]:
    """Threads take turns as in a lab."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
