"""The devices of a pool as its gateway sees them: who is here, what each gives, and who is gone.

Parts: `Device` (one link, asked one thing at a time), `Devices` (those that are here). Law: a device that is silent for
longer than it may be, or says what it should not, is lost at once and for good; the same machine may join anew.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from archipel.serve.pool.integers import unpacked_integers
from archipel.serve.pool.links import Link, LinkLost, LinkQuiet
from archipel.serve.pool.messages import (
    MAX_MISSING,
    Drop,
    Fault,
    Have,
    Held,
    Hello,
    Hold,
    Message,
    Move,
    Ping,
    Pong,
    Rows,
    Said,
    Text,
    Through,
    Weight,
    Working,
    among,
    header_of,
    message_of,
    packed,
    shown,
    unpacked,
)
from archipel.serve.pool.said_passes import said_of
from archipel.serve.pool.trips import TextPart, Traffic, Trip
from archipel.serve.pool.weights import Layers, Original

HELLO_S = 10.0
LEAST_BYTES_PER_S = 500_000
"""Of weights; whoever takes less holds up all answers."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Patience:
    """How long is waited."""

    silent_s: float = 5.0
    """For any word of a device that was asked something."""
    answer_s: float = 120.0
    """For the answer of one that says it works."""


USUAL = Patience()


class CannotHold(RuntimeError):
    """A device has no room for what it was asked to hold."""


class Device:
    """One device that has joined."""

    def __init__(self, link: Link, patience: Patience = USUAL) -> None:
        """Wait for its first word.

        Raises:
            LinkLost: it does not come, or is another.
        """
        self._link, self._patience = link, patience
        self._turn = threading.Lock()
        self.is_lost = False
        self.is_blamed = False
        """It made what is no number of rows that were."""
        self.traffic = Traffic()
        self.layer_ns: int | None = None
        """Of one layer and one step, as measured."""
        self.round_trip_s = 0.0
        """Of a small message, as measured."""
        header, _ = link.receive(HELLO_S)
        said = message_of(header)
        if not isinstance(said, Hello):
            link.close()
            raise LinkLost(f"a device said {said.say!r} first; expected hello")
        self.hello = said
        self.name = said.name
        """What it calls itself, and a number where another is called so."""

    def close(self) -> None:
        """Let go of it."""
        self.is_lost = True
        self._link.close()

    def ping(self) -> None:
        """Ask for a sign of life, unless it is busy anyway.

        Raises:
            LinkLost: none came. CannotHold: it found fault with that.
        """
        if self._turn.acquire(blocking=False):
            try:
                self._ask(Ping(), b"", Pong)
            finally:
                self._turn.release()

    def hold(self, layers: Layers, original: Original, numbers: str, min_rows: int) -> None:
        """Have it hold these layers; what it lacks is sent.

        Raises:
            CannotHold: it has no room. LinkLost: it is gone.
        """
        digests = original.digests(layers)
        asked = Hold(layers=layers, numbers=numbers, min_rows=min_rows)
        config = json.dumps({"config": original.config.to_hf(), "weights": digests}).encode()
        sent = set[str]()
        is_last = False
        with self._turn:
            while missing := self._ask(asked, config, Held)[0].missing:
                if len(set(missing)) < len(missing):
                    raise self._lost("it misses a weight twice")
                if is_last:
                    raise self._lost("it misses more weights than it said")
                is_last = len(missing) < MAX_MISSING  # as many as it can say, or all
                until = time.monotonic() + self._patience.answer_s
                for name in missing:
                    if name not in digests or name in sent:
                        raise self._lost(f"it misses {name!r:.80}, which is sent, or none of its")
                    for start, size, part in original.parts(name):
                        self._tell(Weight(digest=digests[name], size=size, start=start), part)
                        until += len(part) / LEAST_BYTES_PER_S
                        if time.monotonic() > until:
                            raise self._lost("it takes its weights too slowly")
                    sent.add(name)

    def have(self, said: Have) -> None:
        """Have it make room for a cache. Raises LinkLost."""
        with self._turn:
            self._tell(said)

    def move(self, said: Move) -> None:
        """Have sequences change slots. Raises LinkLost."""
        with self._turn:
            self._tell(said)

    def drop(self, layers: Layers | None) -> None:
        """Have it forget layers. Raises LinkLost."""
        with self._turn:
            self._tell(Drop(layers=layers))

    def through(self, trip: Trip, x: Tensor) -> Tensor:
        """Rows after these layers.

        Raises:
            LinkLost: it is gone. CannotHold: it cannot do that.
        """
        only = trip.only
        sent = x if only is None else x[list(only)]
        rows, data = packed(sent)
        asked = Through(
            what=said_of(trip.what),
            ranges=trip.ranges,
            rows=rows,
            only=only,
            is_fed=trip.is_fed,
            is_told=trip.num_wanted > 0,
        )
        with self._turn:
            said, payload = self._ask(asked, data, Rows)
            self.traffic.passes += 1
            self.traffic.rows += len(sent)
            self.traffic.bytes_out += len(data)
            self.traffic.bytes_in += len(payload)
            expected = trip.num_wanted if only is None else len(only)
            found = self._rows(said, payload, x[:expected], is_fed=trip.is_fed)
        return found if only is None else among(found, only, trip.num_wanted)

    def read(self, part: TextPart, x: Tensor) -> Tensor:
        """Rows after these layers of a part of a text that is read without sampling.

        Raises:
            LinkLost: it is gone. CannotHold: it has no room for the text, or has forgotten what came before.
        """
        rows, data = packed(x)
        asked = Text(
            text=part.text, start=part.start, total=part.total, ranges=part.ranges, rows=rows
        )
        with self._turn:
            said, payload = self._ask(asked, data, Rows)
            return self._rows(said, payload, x, is_fed=False)

    def _rows(self, said: Rows, payload: bytes, like: Tensor, *, is_fed: bool) -> Tensor:
        """What came back: as many rows as `like` has, of its kind, or what the head is fed of such; finite numbers all."""
        width = like.shape[1]
        try:
            if is_fed:
                found = unpacked_integers(said, payload, width)
            else:
                found = unpacked(said, payload, width, like.dtype)
            if len(found) != len(like):
                raise LinkLost(f"{len(found)} rows came back; expected {len(like)}")
            if not found.isfinite().all():
                self.is_blamed = True
                raise LinkLost(
                    "numbers came back that are none; expected finite ones: look at its memory and its version"
                )
        except LinkLost as error:
            raise self._lost(str(error)) from None
        return found

    def _ask(self, asked: Message, payload: bytes, expected: type[M]) -> tuple[M, bytes]:
        self._tell(asked, payload)
        until = time.monotonic() + self._patience.answer_s
        while True:
            said, came = self._hear()
            if isinstance(said, Working):
                if time.monotonic() < until:
                    continue
                raise self._lost(f"it worked for longer than {self._patience.answer_s:.0f} s")
            if isinstance(said, Fault):
                raise CannotHold(f"{self.name}: {shown(said.why)}")
            if not isinstance(said, expected):
                raise self._lost(f"it said {said.say!r}; expected {expected.__name__}")
            return said, came

    def _tell(self, message: Message, payload: bytes | memoryview = b"") -> None:
        if self.is_lost:
            raise LinkLost(f"{self.name} is gone")
        try:
            self._link.send(header_of(message), payload)
        except LinkLost as error:
            raise self._lost(str(error)) from None

    def _hear(self) -> tuple[Said, bytes]:
        try:
            header, payload = self._link.receive(self._patience.silent_s)
            return message_of(header), payload
        except LinkQuiet:
            raise self._lost(f"it was silent for {self._patience.silent_s} s") from None
        except LinkLost as error:
            raise self._lost(str(error)) from None

    def _lost(self, why: str) -> LinkLost:
        self.close()
        return LinkLost(f"{self.name} is lost: {why}")


def nothing() -> None:
    """Nobody is told."""


class Devices:
    """Those that are here; any thread may add one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Device] = []
        self.num_joined = 0
        """So far; who compares sees that somebody came."""
        self.tell: Callable[[], None] = nothing
        """Called after each, in the thread that added it; must not wait."""

    def add(self, device: Device) -> None:
        """It may be used from the next request on."""
        with self._lock:
            taken = {each.name for each in self._all if not each.is_lost}
            names = (f"{device.hello.name}-{number}" for number in itertools.count(2))
            while device.name in taken:
                device.name = next(names)
            self._all.append(device)
            self.num_joined += 1
        self.tell()

    def here(self) -> list[Device]:
        """Those that are not lost, in the order in which they came."""
        with self._lock:
            self._all = [device for device in self._all if not device.is_lost]
            return list(self._all)

    def close(self) -> None:
        """Let go of all."""
        for device in self.here():
            device.close()
