"""What a lab holds beside its state because of a lease, and what becomes of it when a record ends that lease.

Its place in the orders that pages are cut from, bytes that were on their way for it, turns that wait for replies.
Law: whoever records says first what a record will end, and lets go of it once the state has followed.
"""

import contextlib
from collections.abc import Callable, Sequence

from archipel.blobs import BlobError
from archipel.blobs.port import LabBlobs
from archipel.lab.exchange import Exchange
from archipel.lab.orders import Orders
from archipel.lab.state import Lease
from archipel.lab.uploads import Uploads
from archipel.records.statements import Recorded


class Remnants:
    """Of one lab."""

    def __init__(
        self,
        orders: Orders,
        uploads: Uploads,
        blobs: LabBlobs,
        exchange: Callable[[], Exchange],
    ) -> None:
        self._orders = orders
        self._uploads = uploads
        self._blobs = blobs
        self._exchange = exchange

    def expect(self, statement: Recorded, ended: Sequence[Lease]) -> None:
        """These leases will have ended once the statement is durable."""
        self._orders.expect(statement, [lease.work for lease in ended])

    def let_go(self, ended: Sequence[Lease]) -> None:
        """The state has followed."""
        self._exchange().ended(lease.work for lease in ended)
        for digest in [each for lease in ended for each in self._uploads.ended(lease.work)]:
            with contextlib.suppress(BlobError):  # a sweep finds it later
                self._blobs.discard(digest)
