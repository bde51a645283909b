"""Counting what a served model is asked, for whoever asks, into signed receipts: one file, a line for each window of time.

Parts: `Tallying` (what an answer tells), `Metering` (the counts, their thread and file), `callers_of` (what callers are called).
Laws: what is counted stands in no receipt or in one; a window that could not be written is written with the next; a file that
was cut off goes on behind its last whole line, and says so; prompts, answers and API keys are in none of it.
"""

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from archipel.identity import Identity
from archipel.market.receipts import read_line, sealed, summed
from archipel.records.receipts import (
    MAX_ROWS,
    NOTHING,
    Row,
    Usage,
    UsageReceipt,
    due_micro,
    rows_digest,
)
from archipel.serve.access import LOCAL, Access, user
from archipel.serve.meter_file import OPEN, RECEIPTS, BadMeter, appended, marked, newest_of

WINDOW_S = 60.0
WHO_DIGITS = 16
_SALT = b"archipel meter: names of callers"


class Tallying(Protocol):
    """Who is told of what was answered."""

    def count(self, key: str, *, tokens_in: int, tokens_out: int = 0) -> None:
        """One answer more of this caller."""


@dataclass(frozen=True)
class Rate:
    """What is counted, and at what price."""

    weights: str
    """Digest of what is served."""
    price_micro: int = 0
    """Micro-credits for a million tokens."""
    window_s: float = WINDOW_S
    now_ms: Callable[[], int] = field(default=lambda: round(time.time() * 1000))


def callers_of(identity: Identity, access: Access) -> dict[str, str]:
    """Caller as the door calls it -> as receipts do: only who has the meter's key and an API key can tell that they belong
    together. A key that moves to another line of its file keeps its name.
    """
    salt = hashlib.sha256(identity.sign_bytes(_SALT)).digest()
    keys = {user(place): key for place, key in enumerate(access.keys)} or {LOCAL: LOCAL}
    return {
        caller: hmac.new(salt, key.encode(), "sha256").hexdigest()[:WHO_DIGITS]
        for caller, key in keys.items()
    }


class Metering:
    """Of one folder, as long as a server runs. A thread of its own writes; counting waits for no disk."""

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        rate: Rate,
        callers: Mapping[str, str],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """say: where it is told that something cannot be written.

        Raises:
            BadMeter: another server counts here, or it is another meter's, or of other weights. OSError: it takes no file.
        """
        if len(callers) > MAX_ROWS:
            raise BadMeter(f"{len(callers)} callers; a receipt has at most {MAX_ROWS}")
        self.identity, self._rate, self._callers, self._say = identity, rate, callers, say
        self._path, self._open_path = folder / RECEIPTS, folder / OPEN
        self._lock, self._counts = threading.Lock(), dict[str, Usage]()
        self._writing, self._ended = threading.Lock(), threading.Event()
        self._mark, was_open = marked(self._open_path)
        try:
            self._newest, was_cut = newest_of(self._path)
            self._check_its_own()
        except BaseException:
            os.close(self._mark)
            raise
        self.is_after_break = was_open or was_cut
        """The server before did not end in good order: what it had not written is lost."""
        self._from_ms = self._after(rate.now_ms())
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    @property
    def num_receipts(self) -> int:
        """Written so far, by servers before too."""
        return 0 if self._newest is None else self._newest.receipt.number

    def count(self, key: str, *, tokens_in: int, tokens_out: int = 0) -> None:
        """See `Tallying.count`."""
        one = Usage(answers=1, tokens_in=tokens_in, tokens_out=tokens_out, micro=0)
        who = self._callers[key]
        with self._lock:
            self._counts[who] = self._counts.get(who, NOTHING).plus(one)

    def write(self) -> bool:
        """A receipt of what was counted since the last one, on disk before this returns; whether there was anything.

        Raises:
            OSError: it cannot be written now; nothing is lost by that. ValueError: sums beyond what a record may hold.
        """
        with self._writing:
            with self._lock:
                counts, self._counts = self._counts, {}
            if not counts:
                return False
            try:
                self._append(counts)
            except BaseException:
                with self._lock:
                    for who, usage in self._counts.items():
                        counts[who] = counts.get(who, NOTHING).plus(usage)
                    self._counts = counts
                raise
            return True

    def close(self) -> None:
        """Write what is left, and end in good order. Called again it does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        try:
            self.write()
        except (OSError, ValueError) as error:
            self._say(f"what was answered last is in no receipt: {error}")
            os.close(self._mark)  # the mark stays: something is lost
            return
        self._open_path.unlink(missing_ok=True)
        os.close(self._mark)

    def _run(self) -> None:
        is_told = False
        while not self._ended.wait(self._rate.window_s):
            try:
                self.write()
                is_told = False
            except (OSError, ValueError, MemoryError) as error:
                if not is_told:
                    self._say(f"no receipt can be written now, the next one has it all: {error}")
                is_told = True

    def _append(self, counts: Mapping[str, Usage]) -> None:
        rows = tuple(_row(who, counts[who], self._rate.price_micro) for who in sorted(counts))
        receipt = self._receipt(rows)
        data = sealed(receipt, rows, self.identity)
        newest, _ = read_line(data[:-1])  # what is written is what anybody can read
        appended(self._path, data)
        self._newest, self.is_after_break, self._from_ms = newest, False, receipt.until_ms

    def _receipt(self, rows: Sequence[Row]) -> UsageReceipt:
        window, newest = summed([each.usage for each in rows]), self._newest
        before = NOTHING if newest is None else newest.receipt.all
        return UsageReceipt(
            meter=self.identity.did,
            number=self.num_receipts + 1,
            previous=None if newest is None else newest.digest,
            weights=self._rate.weights,
            price_micro=self._rate.price_micro,
            from_ms=self._from_ms,
            until_ms=max(self._rate.now_ms(), self._from_ms),
            is_after_break=True if self.is_after_break else None,
            rows=rows_digest(tuple(rows)),
            window=window,
            all=summed([before, window]),
        )

    def _after(self, now_ms: int) -> int:
        """A clock that was set back makes no window begin before the one before it ended."""
        return max(now_ms, 0 if self._newest is None else self._newest.receipt.until_ms)

    def _check_its_own(self) -> None:
        if self._newest is None:
            return
        last = self._newest.receipt
        if last.meter != self.identity.did:
            raise BadMeter(
                f"{self._path} is the meter's {last.meter}, and the key beside it is {self.identity.did}; restore its key, or "
                "give --meter another folder"
            )
        if last.weights != self._rate.weights:
            raise BadMeter(
                f"{self._path} counts what weights {last.weights} answer, and served are {self._rate.weights}; give --meter "
                "another folder"
            )


def _row(who: str, usage: Usage, price_micro: int) -> Row:
    micro = due_micro(usage.tokens_in + usage.tokens_out, price_micro)
    return Row(**usage.model_dump() | {"who": who, "micro": micro})
