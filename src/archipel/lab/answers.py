"""The bytes that come with an answer: are they what was asked, and are they kept?

Checks of large results and waiting for the disk happen in threads, beside the event loop.
Law: the state may have moved on when they are done, so the caller judges the answer once more.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from archipel.blobs import BlobError, StorageFull
from archipel.blobs.errors import StorageFailed
from archipel.blobs.port import LabBlobs
from archipel.lab import refusals
from archipel.lab.admission import HasBlob, answer_blobs, named_blobs, run_of
from archipel.lab.kinds import RULES_OF
from archipel.lab.parted import Parted
from archipel.lab.state import LabState
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.statements import Recorded, WorkAnswered

INLINE_BYTES = 64 * 1024
"""So much is checked faster than a thread is asked."""
THREADS = 2
"""Their own: behind checks of large results, the ledger and everybody's uploads would wait."""
MAX_AT_ONCE_PER_KEY = 2
"""A node sends no more at a time; one that repeats a bad result must not fill all threads."""


class Answers:
    """Inspects answers over one store of blobs."""

    def __init__(self, blobs: LabBlobs, *, in_thread: bool) -> None:
        self._blobs = blobs
        self._in_thread = in_thread
        self._parted = Parted(blobs)
        self._inline_bytes = INLINE_BYTES if blobs.is_near else 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
        self._at_work: Counter[str] = Counter()
        """Author -> answers that are being inspected."""
        self._counting = threading.Lock()

    def has_blob(self, brought: Sequence[bytes]) -> HasBlob:
        """Whether a blob is here, or comes along."""
        coming = {BlobRef(digest=sha256_digest(data), size=len(data)) for data in brought}
        return lambda blob: blob in coming or self._is_here(blob)

    async def inspected(
        self, state: LabState, answered: WorkAnswered, brought: Sequence[bytes]
    ) -> bool:
        """Inspect an admitted answer and keep what it brought; whether anything was waited for.

        Raises:
            Refused: the bytes are not what was asked, there is no room for them, or too many come at once.
        """
        lease = state.leases[answered.work]
        run, rules = run_of(state, lease), RULES_OF[lease.spec.kind]
        at_hand = {sha256_digest(data): data for data in brought}
        named = answer_blobs(answered.answer)
        unnamed = at_hand.keys() - {blob.digest for blob in named}
        if unnamed:
            raise refusals.Malformed(f"the answer does not name {sorted(unnamed)[:3]}")

        def read(blob: BlobRef) -> bytes:
            data = at_hand.get(blob.digest)
            return self._read(blob) if data is None else data

        def work() -> None:
            rules.inspect(run, lease, answered.answer, read)
            made = rules.words.publishes(answered.answer)
            if made is not None:
                most = rules.upload_limit(run, lease)
                self._parted.require(made, read, self._is_here, most)
            self._keep(brought, is_trusted=rules.words.trusted)

        if self._in_thread and (brought or sum(blob.size for blob in named) > self._inline_bytes):
            await self._beside(answered.author, work)
            return True
        work()
        return False

    def named(self, statement: Recorded) -> Iterator[str]:
        """Digests of all that a recorded statement names, and of the parts of a version that it publishes."""
        yield from (blob.digest for blob in named_blobs(statement))
        if isinstance(statement, WorkAnswered):
            made = RULES_OF[statement.answer.kind].words.publishes(statement.answer)
            if made is not None:
                yield from (blob.digest for blob in self._parted.known(made))

    async def _beside(self, author: str, work: Callable[[], None]) -> None:
        """In a thread; whoever asked may go, the thread's end is what counts."""
        with self._counting:
            if self._at_work.get(author, 0) >= MAX_AT_ONCE_PER_KEY:
                raise refusals.Busy(f"{MAX_AT_ONCE_PER_KEY} answers of this key are being checked")
            self._at_work[author] += 1
        done = self._threads.submit(work)
        done.add_done_callback(lambda _: self._ended(author))
        await asyncio.wrap_future(done)

    def _ended(self, author: str) -> None:
        with self._counting:
            self._at_work[author] -= 1
            if not self._at_work[author]:
                del self._at_work[author]

    def _keep(self, brought: Sequence[bytes], *, is_trusted: bool) -> None:
        try:
            for data in brought:
                self._blobs.put_bytes(data, privileged=is_trusted)
        except (StorageFull, StorageFailed) as error:
            raise refusals.StorageExhausted(str(error)) from None
        except BlobError as error:
            raise refusals.TooLarge(str(error)) from None

    def _is_here(self, blob: BlobRef) -> bool:
        return self._blobs.keep(blob.digest) and self._blobs.size(blob.digest) == blob.size

    def _read(self, blob: BlobRef) -> bytes:
        try:
            return self._blobs.read_bytes(blob.digest, blob.size)
        except StorageFailed as error:  # it may be there, and be read later
            raise refusals.StorageExhausted(str(error)) from None
        except BlobError as error:
            raise refusals.MissingBlob(str(error)) from None
