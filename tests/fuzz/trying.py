"""One input for one reader of foreign bytes, and a block of them in a process that may die of it.

Law: the same seed draws the same input, and only the errors that a reader documents may come out of it.
"""

import faulthandler
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from fuzz.readers import READERS, Reader
from fuzz.spoiling import spoilt

LIMIT_S = 2.0
"""Processor time for one input; sound ones take milliseconds."""
HANG_S = 20
"""After so much time by the clock an input counts as a hang."""
BLOCK_S = 4.0
"""Processor time after which a block ends early: slow readers get fewer inputs, never a longer turn."""
DEAF_S = 300.0
"""A block that even a signal does not end by then ends its process."""


class Hang(Exception):
    """An input is not over."""


@dataclass(frozen=True)
class Failure:
    """What one input did."""

    reader: str
    seed: int
    what: str

    def line(self) -> str:
        """For a terminal."""
        return f"{self.reader}, seed {self.seed}: {self.what}"


@dataclass(frozen=True)
class Block:
    """Inputs of successive seeds that one reader has had."""

    reader: str
    first: int
    inputs: int
    failures: tuple[Failure, ...] = ()

    @property
    def end(self) -> int:
        """The seed after the last."""
        return self.first + self.inputs


def input_of(reader: Reader, seed: int) -> bytes:
    """The input that this seed draws."""
    return spoilt(random.Random(seed), reader.specimens)


def tried(name: str, reader: Reader, seed: int) -> Failure | None:
    """What is wrong with reading the input of this seed; None if nothing is."""
    data = input_of(reader, seed)
    begun = time.process_time()
    try:
        with _no_hang():
            reader.read(data)
    except reader.errors as error:
        if not str(error):
            return Failure(name, seed, f"{type(error).__name__} says nothing")
    except Hang:
        return Failure(name, seed, f"not over after {HANG_S} s")
    except Exception as error:  # noqa: BLE001  whatever else comes out is what is looked for
        return Failure(name, seed, f"{type(error).__name__}: {error!s:.200}")
    took = time.process_time() - begun
    return Failure(name, seed, f"took {took:.1f} s") if took > LIMIT_S else None


def block_tried(name: str, first: int, inputs: int) -> Block:
    """So many inputs from this seed on, or as many as BLOCK_S has room for; at least one.

    Whoever calls is a process that may be lost: it ends where a reader does not hear signals for DEAF_S.
    """
    faulthandler.dump_traceback_later(DEAF_S, exit=True)
    try:
        begun, failures, seed = time.process_time(), [], first
        while seed < first + inputs:
            failure = tried(name, READERS[name], seed)
            failures += [] if failure is None else [failure]
            seed += 1
            if time.process_time() - begun > BLOCK_S:
                break
        return Block(name, first, seed - first, tuple(failures))
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _no_hang() -> Iterator[None]:
    def hang(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
