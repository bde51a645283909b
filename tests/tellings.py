"""Ledgers told to a chronicle: folded once more, with what every entry moved."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archipel.dashboard.chronicle.writing import ChronicleWriter
from archipel.dashboard.told import Told
from archipel.lab.apply import apply
from archipel.lab.entry import read_examined
from archipel.lab.state import LabState
from archipel.market.journal import Posting, listening

GOLDEN = Path(__file__).parent / "vectors" / "ledger-12.json"


@dataclass(frozen=True)
class Telling:
    """A whole ledger."""

    state: LabState
    """After it."""
    told: tuple[Told, ...]

    def written(self, path: Path, cuts: Iterable[int] = ()) -> Path:
        """Its chronicle, in batches that end at `cuts`."""
        ends = sorted({each % (len(self.told) + 1) for each in cuts} | {len(self.told)})
        with ChronicleWriter(path, self.state.lab) as writer:
            for start, end in zip([0, *ends], ends, strict=False):
                writer.take(self.told[start:end])
        return path


def telling(lab: str, entries: Iterable[bytes]) -> Telling:
    """Of entries whose signatures are not looked at."""
    state, told = LabState(lab=lab), []
    for number, data in enumerate(entries):
        entry, heard = read_examined(data), list[Posting]()
        with listening(heard.append):
            state = apply(state, entry.statement, entry.at_ms)
        told.append(Told(number, entry.at_ms, entry.statement, tuple(heard)))
    return Telling(state, tuple(told))


def golden_entries() -> tuple[bytes, ...]:
    """Of a kept ledger that has every kind of statement."""
    return tuple(each.encode() for each in json.loads(GOLDEN.read_text())["entries"])


def golden_telling() -> Telling:
    """That ledger."""
    return telling(json.loads(GOLDEN.read_text())["lab"], golden_entries())
