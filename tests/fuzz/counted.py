"""What a campaign of inputs keeps on disk: a line for each block that a reader has had, so that it may go on.

Law: a line is written whole or is no line; no seed is tried twice for a reader.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzz.trying import Block, Failure

BLOCKS = "blocks.jsonl"


class Counted:
    """The inputs of one campaign; without a folder they are counted in memory alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.blocks: list[Block] = []
        self._file = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / BLOCKS
        whole = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        lines = [line for line in whole if line.endswith("\n")]  # the last was being written
        self.blocks = [_block(json.loads(line)) for line in lines]
        if len(lines) != len(whole):
            self._file.write_text("".join(lines))

    @property
    def inputs(self) -> int:
        """Of all readers."""
        return sum(each.inputs for each in self.blocks)

    @property
    def failures(self) -> list[Failure]:
        """Of all readers."""
        return [failure for each in self.blocks for failure in each.failures]

    def of(self, reader: str) -> int:
        """Inputs that this reader has had."""
        return sum(each.inputs for each in self.blocks if each.reader == reader)

    def next_seed(self, reader: str, first: int) -> int:
        """After all that were tried; `first` where there are none."""
        return max([first, *(each.end for each in self.blocks if each.reader == reader)])

    def add(self, block: Block) -> None:
        """A reader has had one more."""
        self.blocks.append(block)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(block)) + "\n")

    def table(self, readers: Iterable[str]) -> dict[str, dict[str, int]]:
        """`inputs` and `failures` of each of these readers."""
        failed = [each.reader for each in self.failures]
        return {name: {"inputs": self.of(name), "failures": failed.count(name)} for name in readers}


def _block(said: dict[str, Any]) -> Block:
    failures = tuple(Failure(**each) for each in said.pop("failures"))
    return Block(**said, failures=failures)
