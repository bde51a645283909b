"""Which groups a version is made from: the numbers of a batch, and of the further groups that it may ask for. Pure.

Batch u is the groups u*B .. (u+1)*B - 1. Where a run refills its batches, each may take up to R*B groups more, whose
numbers come after those of all batches: the run's `versions` batches of B are followed by R blocks of B for each.
A block has a batch of prompts of its own, under its own number. Law: a further group belongs to one batch from
the start, and a batch takes its own in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batches:
    """Of one run."""

    versions: int
    size: int
    """B: groups of a batch."""
    refill: int = 0
    """R: blocks of B further groups that a batch may take."""

    def first(self, batch: int) -> range:
        """The groups that a batch always has."""
        return range(batch * self.size, (batch + 1) * self.size)

    def further(self, batch: int) -> range:
        """The groups that it may ask for, in order."""
        blocks = self.blocks(batch)
        return range(blocks.start * self.size, blocks.stop * self.size)

    def blocks(self, batch: int) -> range:
        """Numbers of the batches of prompts that `further` groups have."""
        start = self.versions + batch * self.refill
        return range(start, start + self.refill)

    def blocks_of(self, batch: int, num_further: int) -> range:
        """Those of the first so many further groups."""
        return self.blocks(batch)[: -(-num_further // self.size)]

    def origin(self, group: int) -> int:
        """The batch that a group belongs to."""
        block = group // self.size
        return block if block < self.versions else (block - self.versions) // max(1, self.refill)

    def place(self, group: int) -> int:
        """Its place in that batch, from 0."""
        batch = self.origin(group)
        own = self.first(batch)
        return group - own.start if group in own else self.size + group - self.further(batch).start

    def groups(self, batch: int, num_further: int) -> Iterator[int]:
        """All groups of a batch that took so many further ones, ascending."""
        yield from self.first(batch)
        yield from self.further(batch)[:num_further]
