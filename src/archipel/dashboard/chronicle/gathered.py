"""Entries into rows: what a batch of them adds to each table. Pure but for what it asks `Known`.

Law: additions commute with how entries are dealt into batches: counts and amounts are summed, the first entry stays, the
last is the newest; what depends on the order of entries (totals of a run at a version) is kept up to date as they come.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archipel.dashboard.chronicle.known import MOST, Known, Lease, Totals
from archipel.dashboard.chronicle.meaning import about, effort, run_of, text_of
from archipel.dashboard.told import Told
from archipel.market.journal import Move, Posting
from archipel.records.batches import Batches
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.rounds import BidCommitted, BidRevealed, MarketCleared, MarketOpened
from archipel.records.statements import (
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    NodesForgotten,
    RunOpened,
    RunStopped,
    WorkAnswered,
)
from archipel.records.withdrawal import ContributionWithdrawn

MINUTE_MS = 60_000
MOST_BEHIND = 66
"""Versions: rollouts are at most 64 behind the version before the one that they go into."""
NONE = 0
"""The name of nothing."""
_PAID = {Move.PAY: 1, Move.CLAWBACK: -1, Move.RESTORE: 1}
Key = tuple[Any, ...]


@dataclass(slots=True)
class Added:
    """To rows of one key; `sums` in the order of the table's columns."""

    sums: list[int]
    first: int
    last: int
    first_ms: int = 0


@dataclass(slots=True)
class Gathered:
    """What a batch adds."""

    known: Known
    growth: dict[Key, Added] = field(default_factory=dict)
    ages: dict[Key, Added] = field(default_factory=dict)
    movements: dict[Key, Added] = field(default_factory=dict)
    costs: dict[Key, Added] = field(default_factory=dict)
    work: dict[Key, Added] = field(default_factory=dict)
    runs: list[Key] = field(default_factory=list)
    totals: dict[int, Totals] = field(default_factory=dict)
    leases: dict[str, Lease | None] = field(default_factory=dict)
    """None: it ended."""
    batches: dict[int, Batches | None] = field(default_factory=dict)
    """Of runs that were opened."""
    behind: list[tuple[int, int]] = field(default_factory=list)
    """(run, version): nobody answers a lease on older ones any more."""
    left: list[tuple[int, int]] = field(default_factory=list)
    """(node, entry): its leases up to there ended."""
    points: list[Key] = field(default_factory=list)
    exams: list[Key] = field(default_factory=list)
    rounds: list[tuple[str, Key]] = field(default_factory=list)
    """(word of what was said, its values), in order."""
    withdrawals: list[Key] = field(default_factory=list)

    def take(self, told: Told) -> None:
        """One more entry."""
        minute = told.at_ms // MINUTE_MS
        _add(self.growth, (minute,), (1,), told)
        run = about(told.statement)
        for posting in told.postings:
            if posting.micro:
                self._moved(told, posting, minute, run)
        does = _DOES.get(type(told.statement))
        if does is not None:
            does(self, told, told.statement)

    def _moved(self, told: Told, posting: Posting, minute: int, run_about: str) -> None:
        run = self.known.name(run_of(posting) or run_about)
        move, micro = posting.move.name, posting.micro
        for account, sums in (
            (posting.source, (0, micro, 1)),
            (posting.target, (micro, 0, 1)),
        ):
            _add(self.movements, (self.known.name(account), minute, move, run), sums, told)
        if run == NONE:
            return
        _add(self.costs, (run, minute, move), (micro, 1), told)
        sign = _PAID.get(posting.move)
        if sign and (totals := self._totals(run)) is not None:
            totals.paid_micro = max(min(totals.paid_micro + sign * micro, MOST), -MOST)

    def _opened(self, told: Told, said: RunOpened) -> None:
        run = self.known.name(said.run)
        pace = said.pace.model_dump(include={"groups_per_update", "refill"})
        size, refill = pace.get("groups_per_update"), pace.get("refill") or 0
        versions = said.terms.versions
        self.runs.append(
            (run, told.number, told.at_ms, said.pace.programme, versions, size, refill)
        )
        self.batches[run] = None if size is None else Batches(versions, size, refill)
        self.totals[run] = Totals()

    def _granted(self, told: Told, said: LeaseGranted) -> None:
        spec = said.spec
        version = getattr(spec, "version", None)
        self.leases[said.work] = Lease(
            run=self.known.name(spec.run),
            node=self.known.name(said.node),
            entry=told.number,
            at_ms=told.at_ms,
            version=version if isinstance(version, int) else None,
            groups=spec.groups if isinstance(spec, RolloutSpec) else (),
        )

    def _stopped(self, told: Told, said: RunStopped) -> None:
        if (totals := self._totals(self.known.name(said.run))) is not None:
            totals.stopped = told.number

    def _ended(self, told: Told, said: LeaseReturned | LeaseExpired) -> None:
        self.leases[said.work] = None

    def _moved_on(self, told: Told, said: NodeJoined | NodeLeft) -> None:
        self._gone(said.author, told.number)

    def _forgotten(self, told: Told, said: NodesForgotten) -> None:
        for did in said.nodes:
            self._gone(did, told.number)

    def _gone(self, did: str, entry: int) -> None:
        """Whatever it held ended."""
        node = self.known.name(did)
        self.left.append((node, entry))
        for work, lease in self.leases.items():
            if lease is not None and lease.node == node:
                self.leases[work] = None

    def _answered(self, told: Told, said: WorkAnswered) -> None:
        answer = said.answer
        words = WORDS_OF[answer.kind]
        lease = self.leases[said.work] if said.work in self.leases else self.known.lease(said.work)
        self.leases[said.work] = None
        run = self.known.name(said.work.rpartition(".")[0])
        node = self.known.name(said.author)
        counts = (0, 0, 0)
        if not (words.trusted or words.appeals):
            counts = effort(answer, 0 if lease is None else len(lease.groups))
        busy_ms = int(getattr(answer, "busy_ms", 0))
        minute = told.at_ms // MINUTE_MS
        _add(self.work, (node, minute, answer.kind, run), (1, *counts, busy_ms), told)
        totals = self._totals(run)
        if totals is not None:
            totals.add(*counts)
        if lease is not None and lease.groups:
            self._aged(told, run, lease)
        head = (run, getattr(answer, "version", None), told.number, told.at_ms, node)
        if isinstance(answer, EvaluateAnswer):
            self.exams.append((*head, text_of(answer.metrics)))
        published = words.publishes(answer)
        if published is not None and totals is not None:
            granted = (None, None) if lease is None else (lease.entry, lease.at_ms)
            blobs = (published.anchor, published.delta)
            sizes = (None if each is None else each.size for each in blobs)
            metrics = text_of(getattr(answer, "metrics", {}))
            self.points.append((*head, *granted, *sizes, *totals.so_far, metrics))
            self._outdated(run, published.version - MOST_BEHIND)

    def _outdated(self, run: int, version: int) -> None:
        if version <= 0:
            return
        self.behind.append((run, version))
        for work, lease in self.leases.items():
            if (
                lease is not None
                and lease.run == run
                and lease.version is not None
                and lease.version < version
            ):
                self.leases[work] = None

    def _aged(self, told: Told, run: int, lease: Lease) -> None:
        batches = self.batches[run] if run in self.batches else self.known.batches(run)
        if batches is None or lease.version is None:
            return
        for group in lease.groups:
            batch = batches.origin(group)
            _add(self.ages, (run, batch + 1, batch - lease.version), (1,), told)

    def _traded(
        self, told: Told, said: MarketOpened | BidCommitted | BidRevealed | MarketCleared
    ) -> None:
        place = (self.known.name(said.run), said.number)
        match said:
            case MarketOpened():
                row: Key = (*place, told.number, told.at_ms, said.lots)
            case MarketCleared():
                found = (said.price_micro, said.bought, said.short)
                row = (told.number, told.at_ms, *found, *place)
            case _:
                row = place
        self.rounds.append((said.kind, row))

    def _withdrawn(self, told: Told, said: ContributionWithdrawn) -> None:
        what = said.data or said.party or said.key or ""
        run, author = self.known.name(said.run), self.known.name(said.author)
        self.withdrawals.append((told.number, run, told.at_ms, author, what, said.reason))

    def _totals(self, run: int) -> Totals | None:
        found = self.totals.get(run)
        if found is None and (found := self.known.totals(run)) is not None:
            self.totals[run] = found
        return found


def _add(rows: dict[Key, Added], key: Key, sums: tuple[int, ...], told: Told) -> None:
    found = rows.get(key)
    if found is None:
        capped = [min(value, MOST) for value in sums]
        rows[key] = Added(capped, told.number, told.number, told.at_ms)
        return
    for place, value in enumerate(sums):
        found.sums[place] = min(found.sums[place] + value, MOST)
    found.last = told.number


_DOES: Mapping[type, Callable[[Gathered, Told, Any], None]] = {
    RunOpened: Gathered._opened,
    RunStopped: Gathered._stopped,
    LeaseGranted: Gathered._granted,
    LeaseReturned: Gathered._ended,
    LeaseExpired: Gathered._ended,
    NodeJoined: Gathered._moved_on,
    NodeLeft: Gathered._moved_on,
    NodesForgotten: Gathered._forgotten,
    WorkAnswered: Gathered._answered,
    MarketOpened: Gathered._traded,
    BidCommitted: Gathered._traded,
    BidRevealed: Gathered._traded,
    MarketCleared: Gathered._traded,
    ContributionWithdrawn: Gathered._withdrawn,
}
"""What a statement adds besides what it moved; any other adds nothing."""
