"""A door's voice at a lab: what `door.remote` needs of one, by the node's own client.

Parts: `DoorAtLab`. Law: what a lab shows is believed as far as it is signed: a lease by the lab's key, an answer by the key that
had the lease, and by one that the run trusts where only those train.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from archipel.blobs import BlobStore
from archipel.blobs.errors import StorageFull
from archipel.door.remote.lab import Asked, LabAway, LabRefuses, Standing
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.operator import describe_file
from archipel.node.sealed import NotBelieved, answer_in, lease_in
from archipel.node.uploads import send_file
from archipel.records.door import DoorAsked, DoorWithdrawn
from archipel.records.door_documents import QuestionsView, QuestionView
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.programmes.door import DoorPace
from archipel.records.statements import RunOpened

LOOKS_AT_ONCE = 16
"""Questions that are asked about side by side when a door begins."""
T = TypeVar("T")


class DoorAtLab:
    """A `door.remote.lab.Lab`."""

    def __init__(self, client: LabClient, opened: RunOpened, folder: Path) -> None:
        """client: has greeted the lab; folder: of its own, for what is on its way."""
        self._client, self._opened, self._folder = client, opened, folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    async def put(self, file: Path) -> BlobRef:
        """See `Lab`."""
        blob = await asyncio.to_thread(describe_file, file)
        await _told(lambda: send_file(self._client, file, blob))
        return blob

    async def fetch(self, blob: BlobRef, file: Path) -> None:
        """See `Lab`; what a call that was cut off left is gone with the folder."""
        place = self._folder / file.name
        try:
            store = await asyncio.to_thread(BlobStore, place)
            path = await _told(lambda: self._client.fetch(blob, store))
            path.rename(file)
        except (StorageFull, OSError) as error:
            raise LabAway(f"this machine's disk: {error}") from None
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def ask(self, number: int, asked: Asked) -> None:
        """See `Lab`."""
        await _told(
            lambda: self._client.submit(
                DoorAsked,
                run=self._opened.run,
                number=number,
                tenant=asked.tenant,
                share=asked.share,
                num_tokens=asked.num_tokens,
                lasts_ms=asked.lasts_ms,
                question=asked.question,
            )
        )

    async def withdraw(self, numbers: Sequence[int]) -> None:
        """See `Lab`."""
        run = self._opened.run
        await _told(lambda: self._client.submit(DoorWithdrawn, run=run, numbers=tuple(numbers)))

    async def next_number(self) -> int:
        """See `Lab`."""
        return (await self._listed()).next_number

    async def standings(self) -> Sequence[Standing]:
        """See `Lab`."""
        listed = await self._listed()
        at_once = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(number: int) -> Standing:
            async with at_once:
                return await self.standing(number, 0.0)

        return await asyncio.gather(*map(look, listed.numbers))

    async def standing(self, number: int, wait_s: float) -> Standing:
        """See `Lab`."""
        path = f"/runs/{self._opened.run}/questions/{number}"
        params = {"wait_s": f"{wait_s:.3f}"}
        shown = await _told(lambda: self._client.read(QuestionView, path, params=params))
        try:
            return self._believed(number, shown)
        except NotBelieved as error:
            raise LabRefuses(error.problem, str(error)) from None

    def _believed(self, number: int, shown: QuestionView) -> Standing:
        """Raises NotBelieved: an answer that nobody gave to this question."""
        if shown.answered is None or shown.grant is None:
            return Standing(number, shown.place, shown.question)
        grant = lease_in(shown.grant, self._client.lab)
        if grant.spec.run != self._opened.run:
            raise NotBelieved("bad-answer", f"{grant.work} is none of {self._opened.run}")
        answer = answer_in(shown.answered, grant)
        spec, trusts = grant.spec, self._opened.trusted
        if not isinstance(spec, AdaptSpec | SampleSpec) or spec.question != number:
            raise NotBelieved("bad-answer", f"{grant.work} answers another question than {number}")
        if not isinstance(answer, AdaptAnswer | SampleAnswer) or answer.kind != spec.kind:
            raise NotBelieved("bad-answer", f"{grant.work} was answered as {answer.kind}")
        pace = self._opened.pace
        only_trusted = isinstance(pace, DoorPace) and pace.adapt == "trusted"
        if spec.kind == "adapt" and only_trusted and grant.node not in trusts:
            raise NotBelieved("bad-answer", f"{grant.node} trained and is not trusted in this run")
        return Standing(number, shown.place, shown.question, spec, answer)

    async def _listed(self) -> QuestionsView:
        path = f"/runs/{self._opened.run}/questions"
        return await _told(lambda: self._client.read(QuestionsView, path))


async def _told(call: Callable[[], Awaitable[T]]) -> T:
    """What comes of a call; what a lab or the network says against it, in the words of `door.remote`."""
    try:
        return await call()
    except LabUnreachable as error:
        raise LabAway(str(error)) from None
    except LabRefused as error:
        raise LabRefuses(error.problem, error.detail) from None
