"""What a campaign keeps on disk: a line for each world that is over, so that whoever stops it may go on.

Law: a line is written whole or is no line; a world that is in there is not lived again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

WORLDS = "worlds.jsonl"
AGAIN = "make faults SEEDS=1 FIRST={seed} FAULTS_OPTIONS='--only \"{kind}\" --keep'"


@dataclass(frozen=True)
class Ended:
    """One world that is over."""

    kind: str
    seed: int
    seconds: float
    faults: int
    wrong: Sequence[str]
    notes: str
    hits: Mapping[str, int] = field(default_factory=dict)
    """`fault: what it hit` -> how often."""

    def line(self) -> str:
        """For a terminal."""
        head = f"{self.kind}, seed {self.seed}: {'WRONG' if self.wrong else 'holds'}"
        first = f" {self.wrong[0]:.300};" if self.wrong else ""
        return f"{head},{first} {self.faults} faults, {self.seconds:.0f} s, {self.notes}"

    def failure(self) -> str:
        """What is wrong, and how to see it again."""
        again = AGAIN.format(seed=self.seed, kind=self.kind)
        return "\n".join([self.line(), *(f"  {each}" for each in self.wrong), f"  again: {again}"])


class Kept:
    """The worlds of one campaign; without a folder they are kept in memory alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.ended: list[Ended] = []
        self._file = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / WORLDS
        whole = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        lines = [line for line in whole if line.endswith("\n")]  # the last was being written
        self.ended = [Ended(**json.loads(line)) for line in lines]
        if len(lines) != len(whole):
            self._file.write_text("".join(lines))

    @property
    def faults(self) -> int:
        """That took effect, in all worlds."""
        return sum(each.faults for each in self.ended)

    def has(self, kind: str, seed: int) -> bool:
        """Whether this world is over."""
        return any(each.kind == kind and each.seed == seed for each in self.ended)

    def add(self, ended: Ended) -> None:
        """One more is over."""
        self.ended.append(ended)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(ended)) + "\n")
