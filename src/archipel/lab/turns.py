"""Turns at a lab: who may ask, who may answer, and what goes out to either.

Law: an exchange is no ledger: what is said here changes nothing of a run's state, and is believed by nobody for the
lab's sake; each word is signed by whoever says it, each reply sealed by the trusted role.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from archipel.identity import Envelope, IdentityError, verify
from archipel.lab import refusals
from archipel.lab.admission import held_lease, run_of
from archipel.lab.exchange import Exchange, Question
from archipel.lab.handouts import Records
from archipel.lab.state import LabState
from archipel.records import turns
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.programmes.rl import RlPace
from archipel.records.turns import (
    TURN_TYPE,
    BadTurns,
    TurnsAnswer,
    TurnsAsked,
    TurnsAwaited,
    TurnsTold,
    decode_word,
)

MAX_AGE_US = 120 * 1_000_000
"""A request for questions counts so long by the lab's clock: one that was overheard cannot be said again."""

W = TypeVar("W", TurnsAsked, TurnsAwaited, TurnsTold)


class AtWork(Protocol):
    """What a lab is asked here."""

    records: Records
    clock_ms: Callable[[], int]

    @property
    def ahead(self) -> LabState:
        """What is accepted."""


@dataclass(frozen=True, slots=True)
class Told:
    """What goes out: a document, and bytes beside it."""

    document: TurnsAnswer | turns.Question
    beside: tuple[bytes, ...] = ()


class Turns:
    """The exchange of one lab, behind its rules."""

    def __init__(self, lab: AtWork) -> None:
        self._lab = lab
        self.exchange = Exchange()

    async def ask(self, data: bytes, blobs: list[bytes], wait_s: float) -> Told:
        """A node's question, and what was told so far.

        Raises:
            Refused: it is not acceptable.
        """
        sealed, word = self._opened(data, TurnsAsked)
        said = _named(word.said, blobs)
        lease = held_lease(self._lab.ahead, word.work, word.author)
        run = run_of(self._lab.ahead, lease)
        pace = run.opened.pace
        if not isinstance(pace, RlPace) or pace.episodes is None or not pace.episodes.is_hosted:
            raise refusals.Conflict(f"run {run.name} asks no turns: its nodes need nobody for them")
        trusted = run.opened.trusted
        question = self.exchange.ask(
            Question(word, sealed, said, trusted, (lease.entry, run.entry))
        )
        found = await self.exchange.answer(question, wait_s)
        if found is not None:
            _, told, replies = found
            return Told(TurnsAnswer(told=told), (replies,) if replies else ())
        silent_ms = self.exchange.silent_ms(trusted, self._lab.clock_ms())
        return Told(TurnsAnswer(silent_s=None if silent_ms is None else silent_ms / 1000))

    async def next(self, data: bytes, wait_s: float) -> Told | None:
        """The next question for a trusted role; None: there is none yet.

        Raises:
            Refused: it is trusted nowhere, or the request is an old one.
        """
        _, word = self._opened(data, TurnsAwaited)
        state, now_ms = self._lab.ahead, self._lab.clock_ms()
        if not any(word.author in state.runs[name].opened.trusted for name in state.live):
            raise refusals.NotAllowed(f"{word.author} is trusted in no run that goes on here")
        if abs(now_ms * 1000 - word.seq) > MAX_AGE_US:
            raise refusals.Replayed(
                f"number {word.seq} is not of the last minutes; count microseconds by the lab's clock"
            )
        question = await self.exchange.next(word.author, word.seq, wait_s, now_ms)
        if question is None:
            return None
        grant, opening = question.entries
        records = self._lab.records
        document = turns.Question(
            asked=question.sealed, grant=await records.at(grant), opening=await records.at(opening)
        )
        return Told(document, (question.said,))

    def tell(self, data: bytes, blobs: list[bytes]) -> None:
        """A trusted role's answer.

        Raises:
            Refused: it is not acceptable.
        """
        sealed, word = self._opened(data, TurnsTold)
        if (word.told is None) == (word.reason is None):
            raise refusals.Malformed("turns.told brings replies or a reason, one of them")
        told = b"" if word.told is None else _named(word.told, blobs)
        self.exchange.tell(word, sealed, told, self._lab.clock_ms())

    def _opened(self, data: bytes, kind: type[W]) -> tuple[str, W]:
        try:
            envelope = Envelope.from_json(data)
            word = decode_word(envelope.payload, verify(envelope, TURN_TYPE))
        except BadTurns as error:
            raise refusals.Malformed(str(error)) from None
        except IdentityError as error:
            raise refusals.WronglySigned(str(error)) from None
        if not isinstance(word, kind):
            raise refusals.Malformed(f"{word.kind} does not belong here")
        lab = self._lab.ahead.lab
        if word.lab != lab:
            raise refusals.WrongLab(f"addressed to lab {word.lab}, this is {lab}")
        return data.decode(), word


def _named(blob: BlobRef, blobs: list[bytes]) -> bytes:
    """The bytes beside a word, which names them."""
    if len(blobs) != 1:
        raise refusals.MissingBlob(
            f"{len(blobs)} blobs came beside it, expected the one that it names"
        )
    if len(blobs[0]) != blob.size or sha256_digest(blobs[0]) != blob.digest:
        raise refusals.WrongDigest(f"what came beside it is not {blob.digest}")
    if blob.size > turns.MAX_TURN_BYTES:
        raise refusals.TooLarge(
            f"{blob.size} bytes of turns; at most {turns.MAX_TURN_BYTES} go at once"
        )
    return blobs[0]
