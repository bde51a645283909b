"""What pages are cut from: a source of looks at a lab. The lab's own classes and a replica's fit by their shape.

Law: a look is one moment, so everything it tells agrees; asking it waits for nobody and may be done beside the event loop.
"""

from collections.abc import Sequence
from typing import Protocol

from archipel.records.compute_documents import ComputePledgeView
from archipel.records.documents import LeaseView, NodeView, RunView, Wait
from archipel.records.grant_documents import GrantsView
from archipel.records.market_documents import MarketView
from archipel.records.ownership_documents import OwnershipView
from archipel.records.page_documents import AuditView, Counts, NodeOrder, OperatorView, PledgeCounts


class Look(Protocol):
    """One moment of a lab."""

    @property
    def size(self) -> int:
        """Entries that it is folded from."""

    @property
    def now_ms(self) -> int: ...

    def counts(self) -> Counts: ...

    def runs(self, start: int, limit: int) -> Sequence[RunView]:
        """The newest first."""

    def run(self, name: str) -> RunView | None: ...

    def opening(self, name: str) -> int | None:
        """The entry that opened it."""

    def nodes(
        self, start: int, limit: int, by: NodeOrder = "joined", operator: str | None = None
    ) -> Sequence[NodeView]: ...

    def node(self, did: str) -> NodeView | None: ...

    def joined(self, did: str) -> int | None:
        """The lab's time at which a node joined, in milliseconds."""

    def operators(self, start: int, limit: int) -> Sequence[OperatorView]:
        """Those that earned most first."""

    def operator(self, did: str) -> OperatorView | None: ...

    def leases(self, did: str) -> Sequence[LeaseView]:
        """Open ones of one node."""

    def waits(self, run: str | None = None) -> Sequence[Wait]: ...

    def market(self, run: str, rows: int) -> MarketView | None:
        """None: it pays a posted price."""

    def ownership(self, run: str, rows: int) -> OwnershipView | None: ...

    def audits(
        self, start: int, limit: int, run: str | None = None, operator: str | None = None
    ) -> Sequence[AuditView]:
        """Open ones first, then the newest."""

    def grants(self, rows: int) -> GrantsView: ...

    def pledges(
        self, start: int, limit: int, run: str | None = None
    ) -> Sequence[ComputePledgeView]:
        """Of compute: those that hold first, then the newest; run: for which its work counts."""

    def pledge_counts(self, run: str | None = None) -> PledgeCounts: ...


class Source(Protocol):
    """A lab, or a replica of one."""

    @property
    def lab(self) -> str:
        """Its key."""

    @property
    def is_lab(self) -> bool:
        """False: a replica, which knows nothing but the ledger."""

    @property
    def problem(self) -> str | None:
        """Why it shows nothing newer, in a sentence; None: nothing keeps it."""

    def look(self) -> Look: ...

    def head(self) -> str:
        """The newest signed tree head, a signed note."""

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        """As the ledger holds them; may wait for the disk."""

    async def grown(self, size: int, limit_s: float) -> int:
        """The ledger's size once it is above `size`, or after `limit_s`."""
