"""A node's side of turns: what its child asks about goes to the lab, and what comes back is checked before the child sees it.

Law: a reply is believed if the run's trusted role sealed it for exactly this episode; every wait has an end, and a work
that gets no reply fails with a named cause.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.sealed import NotBelieved
from archipel.node.turn_words import document_of, heard, spoken
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef, Fault
from archipel.records.payload import BadPayload
from archipel.records.tasks import tasks_of
from archipel.records.turns import (
    MAX_TURN_BYTES,
    MAX_TURNS_AT_ONCE,
    BadTurns,
    Place,
    Reply,
    Said,
    TurnsAnswer,
    TurnsAsked,
    TurnsTold,
    pack_said,
    unpack_replies,
)
from archipel.work.messages import DoWork, TurnsOver
from archipel.work.seals import Answered, is_reply_sealed

TURN_WAIT_S = 120.0
"""For one reply; a lease that ends before ends the wait, too."""
POLL_S = 20.0
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 10.0
"""Between attempts while the lab does not answer."""


class NoReply(Exception):
    """Turns that get no reply; the message says why."""

    def __init__(self, reason: str, fault: Fault | None) -> None:
        super().__init__(reason)
        self.fault = fault


class LeaseTurns:
    """The turns of one lease."""

    def __init__(self, client: LabClient, work: DoWork, wait_s: float = TURN_WAIT_S) -> None:
        self._client, self._work, self._opened = client, work.work, work.opened
        self._all = work
        self._tasks: Mapping[int, int] | None = None
        """Of its groups, where tasks are chosen, once somebody asked."""
        self._wait_s = wait_s
        self._episodes: dict[tuple[int, int], Answered] = {}

    async def bring(self, said: Sequence[Said]) -> TurnsOver:
        """What follows these turns; a reason, where nothing does."""
        replies: list[Reply] = []
        try:
            self._tasks = self._tasks or await asyncio.to_thread(_tasks_of, self._all)
            for part in parts_of(said):
                replies += await self._asked(part)
        except NoReply as error:
            return TurnsOver(replies=None, reason=str(error), fault=error.fault)
        except (BadPayload, OSError) as error:
            return TurnsOver(replies=None, reason=f"prompts of {self._work}: {error}", fault="work")
        except LabRefused as error:
            fault: Fault | None = None if error.problem in OVER else "work"
            return TurnsOver(replies=None, reason=f"turns were refused: {error}", fault=fault)
        return TurnsOver(replies=tuple(replies))

    async def _asked(self, said: Sequence[Said]) -> Sequence[Reply]:
        """Raises NoReply, LabRefused."""
        data = pack_said(said)
        if len(data) > MAX_TURN_BYTES:
            raise NoReply(
                f"a turn of {len(data)} bytes; at most {MAX_TURN_BYTES} go at once", "work"
            )
        blob = BlobRef(digest=sha256_digest(data), size=len(data))
        until_s, pause_s = time.monotonic() + self._wait_s, FIRST_PAUSE_S
        silent = "the lab did not answer"
        while (left_s := until_s - time.monotonic()) > 0:
            asked = spoken(self._client, TurnsAsked, work=self._work, said=blob)
            try:
                sent = await self._client.post("/turns", asked, (data,), min(POLL_S, left_s))
            except LabUnreachable as error:
                silent = f"the lab did not answer: {error}"
                await asyncio.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
                continue
            answer, beside = self._document(sent)
            if answer.told is not None:
                return self._believed(answer.told, beside, blob, said)
            silent = _silence(answer)
        raise NoReply(
            f"no reply to turns of {self._work} within {self._wait_s:.0f} s: {silent}", "time"
        )

    def _document(self, sent: bytes) -> tuple[TurnsAnswer, bytes]:
        try:
            return document_of(TurnsAnswer, sent)
        except NotBelieved as error:
            raise NoReply(str(error), "time") from None

    def _believed(
        self, sealed: str, beside: bytes, asked: BlobRef, said: Sequence[Said]
    ) -> Sequence[Reply]:
        """1 the trusted role's own words, for this question  2 the bytes that they name  3 a seal on each reply."""
        # 1
        try:
            told = heard(sealed, TurnsTold, self._client.lab)
        except NotBelieved as error:
            raise NoReply(f"a reply that is none: {error}", None) from None
        if told.author not in self._opened.trusted or (told.work, told.asked) != (
            self._work,
            asked.digest,
        ):
            raise NoReply(
                f"a reply by {told.author} to {told.asked} of {told.work}, not to ours", None
            )
        if told.told is None:
            raise NoReply(f"the trusted role does not answer: {told.reason}", told.fault)
        # 2
        if sha256_digest(beside) != told.told.digest:
            raise NoReply("the replies are not those that the trusted role names", None)
        try:
            replies = unpack_replies(beside)
        except BadTurns as error:
            raise NoReply(f"the trusted role's replies cannot be read: {error}", "work") from None
        # 3
        if [_place(each) for each in replies] != [_place(each) for each in said]:
            raise NoReply("the replies are to other turns than were asked", None)
        for one, reply in zip(said, replies, strict=True):
            self._take(one, reply)
        return replies

    def _take(self, said: Said, reply: Reply) -> None:
        key = (said.group, said.rollout)
        before = self._episodes.get(key, Answered((), ()))
        retold = before.retold if reply.retells is None else (*before.retold, said.turn)
        episode = Answered((*before.said, said.tokens), (*before.told, reply.answer), retold)
        task = None if self._tasks is None else self._tasks[said.group]
        place = Place(self._opened.lab, self._opened.run, self._work, *key, task)
        seal, keys = bytes.fromhex(reply.seal), self._opened.trusted
        if not is_reply_sealed(place, episode, is_over=reply.is_over, seal=seal, keys=keys):
            raise NoReply(
                f"the reply to turn {said.turn} of group {said.group}, rollout {said.rollout} has no seal of "
                "the trusted role's: somebody altered it, or it is of another episode",
                None,
            )
        self._episodes[key] = episode


def _tasks_of(work: DoWork) -> Mapping[int, int] | None:
    """Raises BadPayload, OSError: the prompts do not say it."""
    return tasks_of(work.spec, work.opened.pace, lambda blob: work.blobs[blob.digest].read_bytes())


OVER = ("late-result", "not-found", "duplicate-result", "not-joined")
"""Refusals that say no more than that the lease is over."""


def parts_of(said: Sequence[Said]) -> list[list[Said]]:
    """As many at once as one question may hold."""
    parts: list[list[Said]] = []
    left = 0
    for each in said:
        size = len(pack_said([each]))
        if not parts or size > left or len(parts[-1]) >= MAX_TURNS_AT_ONCE:
            parts.append([])
            left = MAX_TURN_BYTES
        parts[-1].append(each)
        left -= size
    return parts


def _place(each: Said | Reply) -> tuple[int, int, int]:
    return each.group, each.rollout, each.turn


def _silence(answer: TurnsAnswer) -> str:
    if answer.silent_s is None:
        return "no trusted role of the run has asked for turns since the lab started"
    return f"a trusted role of the run asked for turns {answer.silent_s:.0f} s ago, last"
