"""A lab's reader for commands that wait for each answer."""

import asyncio
from typing import Self

from archipel.node.client import LabReader


class WaitedLab:
    """Speaks to one lab, an answer at a time, until the block ends."""

    def __init__(self, lab: LabReader) -> None:
        self._lab = lab
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._lab.close())
        self._runner.close()
