"""One moment of a lab, as pages are cut from it. Pure; a replica of its ledger has the same (`dashboard.source.Look`).

Law: everything that a look tells follows from one state, which cannot change, so it may be asked beside the event loop and
agrees with itself; what it says of a run, a node, a market is what `views` and its sisters say, nothing else. Of a page it
computes the rows that are on it: the others are compared by a number each.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from heapq import nlargest

from archipel.lab import views
from archipel.lab.audit_views import audit_views
from archipel.lab.audits import audits
from archipel.lab.compute_views import pledge_counts, pledge_views
from archipel.lab.grant_views import grants_view
from archipel.lab.market_views import market_view
from archipel.lab.ownership_views import ownership_view
from archipel.lab.presence import NOBODY_ASKED, is_gone, last_heard_ms
from archipel.lab.providers import standing_of
from archipel.lab.refusals import NoCharter
from archipel.lab.state import OPEN_PHASES, LabState, Node, Run
from archipel.market.journal import held, stake, wallet
from archipel.records.compute_documents import ComputePledgeView
from archipel.records.documents import LeaseView, NodeView, RunView, Wait
from archipel.records.grant_documents import GrantsView
from archipel.records.market_documents import MarketView
from archipel.records.ownership_documents import OwnershipView
from archipel.records.page_documents import (
    MAX_NODES_SHOWN,
    AuditView,
    Counts,
    NodeOrder,
    OperatorView,
    PledgeCounts,
)

MAX_ENTRIES = 1000
"""Of one reading of a source's ledger."""
Ranks = list[tuple[int, str]]
"""(by what it is compared, key)"""


class Crowd:
    """Whose which node is, and what each comes to: found once for every look at the same state."""

    def __init__(self, state: LabState) -> None:
        self.state = state
        self._ranks: dict[NodeOrder, Ranks] = {}

    @cached_property
    def nodes_of(self) -> Mapping[str, Sequence[str]]:
        """Account -> keys of its nodes."""
        delegations = self.state.delegations
        if not delegations:
            return {did: (did,) for did in self.state.nodes}
        found: dict[str, list[str]] = {}
        for did in self.state.nodes:
            known = delegations.get(did)
            found.setdefault(did if known is None else str(known.operator), []).append(did)
        return found

    @cached_property
    def earned(self) -> Ranks:
        """(what it was paid and did not lose, in micro-credits, account) of each."""
        book = dict(self.state.book.items())
        return [(book.get(wallet(did), 0) + book.get(stake(did), 0), did) for did in self.nodes_of]

    def ranks(self, by: NodeOrder) -> Ranks:
        """(by what it is compared, key) of every node.

        Raises:
            KeyError: `by` is no order.
        """
        known = self._ranks.get(by)
        if known is None:
            known = self._ranks[by] = _RANKING[by](self)
        return known


def _by_joined(crowd: Crowd) -> Ranks:
    return [(node.joined_at_ms, did) for did, node in crowd.state.nodes.items()]


def _by_earned(crowd: Crowd) -> Ranks:
    return [(micro, did) for micro, account in crowd.earned for did in crowd.nodes_of[account]]


def _by_work(crowd: Crowd) -> Ranks:
    nodes = crowd.state.nodes.items()
    return [(sum([each.units for each in node.tallies.values()]), did) for did, node in nodes]


_RANKING: Mapping[NodeOrder, Callable[[Crowd], Ranks]] = {
    "joined": _by_joined,
    "earned": _by_earned,
    "work": _by_work,
}


class Look:
    """See the module's text."""

    def __init__(
        self,
        state: LabState,
        now_ms: int,
        asked_ms: Mapping[str, int] | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        """asked_ms: when each node asked for work last, as only a lab that runs knows; None: of a replica. crowd: of an
        earlier look at the same state.
        """
        self._state = state
        self._now_ms = now_ms
        self._asked_ms = NOBODY_ASKED if asked_ms is None else asked_ms
        self._is_lab = asked_ms is not None
        self.crowd = crowd if crowd is not None and crowd.state is state else Crowd(state)

    @property
    def size(self) -> int:
        """Entries that it is folded from."""
        return self._state.size

    @property
    def now_ms(self) -> int:
        """Unix milliseconds, by the lab's clock."""
        return self._now_ms

    def counts(self) -> Counts:
        """The lab in a few numbers."""
        state, runs = self._state, list(self._state.runs.values())
        return Counts(
            runs=len(runs),
            live_runs=sum(run.phase in OPEN_PHASES for run in runs),
            nodes=len(state.nodes),
            here=sum(map(self._is_here, state.nodes.values())),
            operators=len(self.crowd.nodes_of),
            leases=len(state.leases),
            open_cases=sum(len(audits(run).cases) for run in runs),
            paid_micro=sum(run.paid_micro + state.book.get(held(run.name), 0) for run in runs),
        )

    def runs(self, start: int, limit: int) -> Sequence[RunView]:
        """The newest first."""
        runs = self._state.runs
        opened = [(run.entry, name) for name, run in runs.items()]
        names = (name for _, name in _largest(opened, start, limit))
        return views.run_views(self._state, self._now_ms, names)

    def run(self, name: str) -> RunView | None:
        """None: there is no such run."""
        run = self._state.runs.get(name)
        return None if run is None else views.run_view(self._state, run, self._now_ms)

    def opening(self, name: str) -> int | None:
        """The entry that opened it."""
        run: Run | None = self._state.runs.get(name)
        return None if run is None else run.entry

    def nodes(
        self, start: int, limit: int, by: NodeOrder = "joined", operator: str | None = None
    ) -> Sequence[NodeView]:
        """The newest first, or those that earned or did most; of one operator, if it is named.

        Raises:
            KeyError: `by` is no order.
        """
        ranks = self.crowd.ranks(by)
        if operator is not None:
            own = frozenset(self.crowd.nodes_of.get(operator, ()))
            ranks = [each for each in ranks if each[1] in own]
        nodes = [self._state.nodes[did] for _, did in _largest(ranks, start, limit)]
        return [views.node_view(self._state, each, self._now_ms, self._asked_ms) for each in nodes]

    def node(self, did: str) -> NodeView | None:
        """None: nobody knows it."""
        node = self._state.nodes.get(did)
        if node is None:
            return None
        return views.node_view(self._state, node, self._now_ms, self._asked_ms)

    def joined(self, did: str) -> int | None:
        """The lab's time at which a node joined first, in milliseconds."""
        node: Node | None = self._state.nodes.get(did)
        return None if node is None else node.joined_at_ms

    def operators(self, start: int, limit: int) -> Sequence[OperatorView]:
        """Those that earned most first: by what they were paid and did not lose."""
        return [self._operator(did) for _, did in _largest(self.crowd.earned, start, limit)]

    def operator(self, did: str) -> OperatorView | None:
        """None: nobody knows it."""
        is_known = did in self.crowd.nodes_of or did in self._state.providers
        return self._operator(did) if is_known else None

    def leases(self, did: str) -> Sequence[LeaseView]:
        """Open ones of one node, the oldest first."""
        node: Node | None = self._state.nodes.get(did)
        works = () if node is None else node.leases
        return views.lease_views(self._state, self._now_ms, works)

    def waits(self, run: str | None = None) -> Sequence[Wait]:
        """What blocks each run, or this one."""
        return [wait for wait in self._waits if run is None or wait.run == run]

    @cached_property
    def _waits(self) -> Sequence[Wait]:
        return views.waits(self._state, self._now_ms)

    def market(self, run: str, rows: int) -> MarketView | None:
        """None: it pays a posted price, or there is no such run."""
        known: Run | None = self._state.runs.get(run)
        if known is None or known.opened.pace.market is None:
            return None
        return market_view(self._state, known, self._now_ms, rows)

    def ownership(self, run: str, rows: int) -> OwnershipView | None:
        """None: nobody owns it, or there is no such run."""
        known: Run | None = self._state.runs.get(run)
        if known is None:
            return None
        try:
            return ownership_view(self._state, known, self._now_ms, rows)
        except NoCharter:
            return None

    def audits(
        self, start: int, limit: int, run: str | None = None, operator: str | None = None
    ) -> Sequence[AuditView]:
        """Open ones first, then the newest."""
        runs = self._state.runs
        chosen = runs.values() if run is None else [runs[run]] if run in runs else []
        return audit_views(self._state, chosen, start, limit, operator)

    def grants(self, rows: int) -> GrantsView:
        """The pool, and at most `rows` grantees."""
        return grants_view(self._state, self._now_ms, rows)

    def pledges(
        self, start: int, limit: int, run: str | None = None
    ) -> Sequence[ComputePledgeView]:
        """Of compute: those that hold first, then the newest; run: for which its work counts."""
        return pledge_views(self._state, self._now_ms, start, limit, self._purposes(run))

    def pledge_counts(self, run: str | None = None) -> PledgeCounts:
        """The same in a few numbers."""
        return pledge_counts(self._state, self._now_ms, self._purposes(run))

    def _purposes(self, run: str | None) -> tuple[str, ...] | None:
        known: Run | None = None if run is None else self._state.runs.get(run)
        return None if known is None else known.opened.pace.purposes or ()

    def _is_here(self, node: Node) -> bool:
        if not self._is_lab:
            return node.present
        heard_ms = last_heard_ms(node, self._asked_ms)
        return node.present and not is_gone(node, heard_ms, self._now_ms)

    def _operator(self, did: str) -> OperatorView:
        state, known = self._state, standing_of(self._state, did)
        nodes = [state.nodes[each] for each in self.crowd.nodes_of.get(did, ())]
        tallies = [tally for node in nodes for tally in node.tallies.values()]
        shown = nlargest(
            MAX_NODES_SHOWN,
            nodes,
            key=lambda node: (self._is_here(node), node.joined_at_ms, node.did),
        )
        return OperatorView(
            operator=did,
            nodes=tuple(node.did for node in shown),
            num_nodes=len(nodes),
            groups=sum(tally.units for tally in tallies),
            tokens=sum(tally.tokens for tally in tallies),
            wallet_micro=int(state.book.get(wallet(did), 0)),
            stake_micro=int(state.book.get(stake(did), 0)),
            verified=known.verified,
            refuted=known.soft + known.hard,
            quarantined_by=None if known.quarantine is None else known.quarantine.work,
        )


def _largest(ranks: Ranks, start: int, limit: int) -> Ranks:
    """Those in places `start` to `start + limit`; all are looked at, few are sorted."""
    return nlargest(start + limit, ranks)[start:]
