"""Bringing answers to the lab: small ones with the request for the next lease in the same message.

Parts: `Deliveries` holds the answers that are on their way and the leases that receipts brought;
`Opened` holds one answer's files; `answer_from` turns what a child said into the answer that goes into
the ledger. Law: a large answer travels in the background while the child already works on; an answer
whose receipt got lost is told again until its lease is over, and a lease that came is never dropped.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.client import LabClient
from archipel.node.decoys import at_work, planted
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.lease import Lease, Wanted
from archipel.node.part_uploads import send_parts
from archipel.node.patience import NodeFailed, Patience
from archipel.node.sealed import NotBelieved
from archipel.node.settings import NodeSettings
from archipel.node.totals import ACCEPTED, Totals
from archipel.node.uploads import send
from archipel.records.fields import MAX_REASON_CHARACTERS, BlobRef, Fault
from archipel.records.kinds import WORDS_OF, Answer, Spec
from archipel.records.parcel import MAX_PARCEL_BLOBS, SMALL_BLOB_BYTES
from archipel.records.statements import LeaseGranted, LeaseReturned
from archipel.records.words import Told
from archipel.work.messages import Done

logger = logging.getLogger("archipel.node")

LAST_WORDS_S = 10.0
"""A lease is given back, or the lab left, within this time or in silence."""
ALREADY_ACCEPTED = "duplicate-result"
TAKEN_BACK = "late-result"

AskAlong = Callable[[], Wanted | None]
"""What to ask for beside an answer that is about to leave; None: nothing."""


class Deliveries:
    """Answers on their way, and leases that came back for them."""

    def __init__(
        self, client: LabClient, patience: Patience, settings: NodeSettings, totals: Totals
    ) -> None:
        self._client = client
        self._patience = patience
        self._totals = totals
        self._delay_s = settings.latency_s
        self._scratch = settings.home / "scratch"
        memory = [settings.home / "memory"] if settings.trusted else []
        self._roots = (self._scratch, *memory)
        self._decoy = at_work(settings.kept_in)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._small: set[str] = set()
        self._brought: list[Lease] = []
        self.disowned = False
        """The lab took a lease back before its deadline, though we were at work on it."""

    @property
    def works(self) -> tuple[str, ...]:
        """Leases whose answers are on their way."""
        return tuple(self._tasks)

    @property
    def asking(self) -> bool:
        """Whether an answer is on its way whose receipt may bring the next lease."""
        return not self._small.isdisjoint(self._tasks)

    def take(self) -> Lease | None:
        """A lease that a receipt brought."""
        return self._brought.pop(0) if self._brought else None

    def start(self, grant: LeaseGranted, done: Done, busy_s: float, ask_along: AskAlong) -> None:
        """Deliver in the background."""
        if _size_of(done) <= SMALL_BLOB_BYTES:
            self._small.add(grant.work)
        task = asyncio.create_task(self._deliver(grant, done, busy_s, ask_along), name=grant.work)
        self._tasks[grant.work] = task
        task.add_done_callback(self._ended)

    async def next_end(self) -> None:
        """Wait until one of them has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Give up what is still on its way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give_back(self, grant: LeaseGranted, reason: str, fault: Fault | None = None) -> None:
        """Return a lease; a lab that does not answer will see the deadline pass."""
        said: dict[str, str] = {"work": grant.work, "reason": _text(reason)}
        if fault is not None:
            said["fault"] = fault
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._client.submit(LeaseReturned, **said)
        except (LabRefused, LabUnreachable, TimeoutError) as error:
            logger.warning("lease not returned", extra={"work": grant.work, "reason": str(error)})

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = task.get_name()
        self._tasks.pop(work, None)
        self._small.discard(work)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("delivery failed", extra={"work": work}, exc_info=error)

    async def _deliver(
        self, grant: LeaseGranted, done: Done, busy_s: float, ask_along: AskAlong
    ) -> None:
        await asyncio.sleep(self._delay_s)
        told = Told(values=done.values, blobs={}, busy_ms=int(busy_s * 1000))
        outcome, why = await self._outcome(grant, done, told, ask_along)
        shutil.rmtree(self._scratch / grant.work, ignore_errors=True)
        self._totals.count(outcome, grant.work, why)
        if outcome == ACCEPTED:
            self._totals.earned(grant, done.values, busy_s)
            logger.info("accepted", extra={"run": grant.spec.run, "work": grant.work})

    async def _outcome(
        self, grant: LeaseGranted, done: Done, told: Told, ask_along: AskAlong
    ) -> tuple[str, str]:
        """Bring the answer to the lab; what became of it, and why."""
        left_s = self._client.clock.left_s(grant.deadline_ms)
        try:
            done = await asyncio.to_thread(planted, self._decoy, grant, done, self._roots)
            async with asyncio.timeout(max(left_s, 0.0) + LAST_WORDS_S):
                await self._patience.patiently(
                    lambda: self._tell(grant, done, told, ask_along), left_s
                )
        except LabRefused as error:
            if error.problem == ALREADY_ACCEPTED:
                return ACCEPTED, ""  # an earlier telling arrived, only its receipt was lost
            logger.warning("answer refused", extra={"work": grant.work, "reason": str(error)})
            self.disowned |= error.problem == TAKEN_BACK and left_s > 0
            await self.give_back(grant, f"the answer was refused: {error}", "work")
            return "refused", str(error)
        except (LabUnreachable, NodeFailed, TimeoutError) as error:
            logger.warning("answer lost", extra={"work": grant.work, "reason": str(error)})
            return "lost", str(error) or "no whole answer from the lab before its deadline"
        except (BadAnswer, OSError) as error:
            logger.warning("answer unusable", extra={"work": grant.work, "reason": str(error)})
            fault: Fault | None = "work" if isinstance(error, BadAnswer) else None
            await self.give_back(grant, str(error), fault)
            return "lost", str(error)
        except Exception as error:  # whatever went wrong, nobody else has to wait for the deadline
            logger.exception("delivery failed", extra={"work": grant.work})
            why = f"the node could not deliver: {type(error).__name__}"
            await self.give_back(grant, why, "work")
            return "lost", why
        return ACCEPTED, ""

    async def _tell(self, grant: LeaseGranted, done: Done, told: Told, ask_along: AskAlong) -> None:
        opened = await asyncio.to_thread(Opened, done.files, self._roots)
        with opened:
            answer = answer_from(
                grant.spec, Told(values=told.values, blobs=opened.blobs, busy_ms=told.busy_ms)
            )
            named = {blob.digest for blob in WORDS_OF[answer.kind].blobs(answer)}
            large = [file for file in opened.large if file.blob.digest in named]
            for file in large:
                await send(self._client, file.rest, file.blob, grant.work)
            if "parts" in told.values:
                await send_parts(self._client, done.files, self._roots, grant.work)
            small = [data for digest, data in opened.small.items() if digest in named]
            wanted = None if large else ask_along()
            _, lease = await self._client.answer(grant.work, answer, small, wanted)
        if isinstance(lease, NotBelieved):
            logger.warning("lease not believed", extra={"reason": f"{lease.problem}: {lease}"})
        elif lease is not None:
            self._brought.append(lease)


class Opened:
    """The files of one answer: small ones read, as far as a parcel holds them, the others open."""

    def __init__(self, files: Mapping[str, Path], roots: Sequence[Path]) -> None:
        """Raises BadAnswer: too many, or one of them may not be sent."""
        if len(files) > MAX_PARCEL_BLOBS:
            raise BadAnswer(f"an answer of {len(files)} files; at most {MAX_PARCEL_BLOBS}")
        self.blobs: dict[str, BlobRef] = {}
        """Role -> what the file holds."""
        self.small: dict[str, bytes] = {}
        """Digest -> bytes."""
        self.large: list[AnswerFile] = []
        room = SMALL_BLOB_BYTES
        try:
            for role, path in files.items():
                file = AnswerFile(path, roots)
                self.blobs[role] = file.blob
                if file.blob.size > room:
                    self.large.append(file)
                    continue
                with file:
                    self.small[file.blob.digest] = file.data()
                room -= file.blob.size
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; idempotent."""
        for file in self.large:
            file.close()


def answer_from(spec: Spec, told: Told) -> Answer:
    """What goes into the ledger.

    Raises:
        BadAnswer: a value or a file is missing, or of the wrong form.
    """
    try:
        answer: Answer = WORDS_OF[spec.kind].answer_of(spec, told)
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the child's answer lacks {error}") from None
    return answer


def _text(reason: str) -> str:
    """What a statement may say: bounded, and no half of a surrogate pair."""
    return reason[:MAX_REASON_CHARACTERS].encode("utf-8", "replace").decode()


def _size_of(done: Done) -> int:
    """Only a guess: the files are looked at closely when they are opened."""
    try:
        return sum(path.lstat().st_size for path in done.files.values())
    except (OSError, ValueError):
        return 0
