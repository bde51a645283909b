"""`make fuzz`: spoilt bytes for every reader of foreign bytes, drawn by seeds.

Only the errors that a reader documents may come out, and each input is over within LIMIT_S. A failure is
named by reader and seed, and told again by the same seed. Ctrl-C ends it with what is known.
"""

import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

from fuzz.readers import READERS, Reader
from fuzz.spoiling import spoilt

LIMIT_S = 2.0
"""Processor time for one input; sound ones take milliseconds."""
HANG_S = 20
"""After so much time by the clock an input counts as a hang."""


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


@click.command()
@click.option(
    "--seeds", default=2000, show_default=True, type=click.IntRange(1), help="Per reader."
)
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="First seed.")
@click.option("--only", help="One reader.", type=click.Choice(list(READERS)))
def session(seeds: int, first: int, only: str | None) -> None:
    """Try every reader, or one, with so many inputs each."""
    failures: list[Failure] = []
    for name in [only] if only else READERS:
        found = [
            failure
            for seed in range(first, first + seeds)
            if (failure := tried(name, READERS[name], seed)) is not None
        ]
        failures += found
        click.echo(f"{name:22} {seeds} inputs, {len(found)} failures")
    for failure in failures:
        click.echo(failure.line())
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    session()
