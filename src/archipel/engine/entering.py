"""Those who have slots and whose prompts are being read: piece by piece, under a budget, and from what is held.

Parts: `Entering`. Order and cuts are `prompts`', passes `prefill`'s; what is held of earlier prompts is `prefixes`'.
"""

import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from archipel.engine.cache import CacheShape
from archipel.engine.capacity import Capacity
from archipel.engine.machinery import Machinery
from archipel.engine.prefill import read_piece
from archipel.engine.prefixes import Chain, Prefixes
from archipel.engine.prompts import Prompts, Reading
from archipel.engine.protocol import Ticket
from archipel.engine.scheduler import Admission
from archipel.records.requests import Request

PASTED_FOR_ONE = 16
"""Positions that are copied from a prompt read before, for each that a step may read: copying is the quicker by more
than that."""


class Entering:
    """Prompts on their way into the cache."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity, self._limits = capacity, capacity.limits
        self._prefixes = Prefixes()
        self._num_read = self._num_reused = 0
        self.prompts = Prompts(self._limits.block)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `LocalEngine.counts`."""
        return {
            "positions_read": self._num_read,
            "positions_reused": self._num_reused,
            "prefix_blocks": len(self._prefixes),
            "prefix_bytes": self._prefixes.num_bytes,
        }

    def forget(self) -> None:
        """Hold nothing of earlier prompts: other numbers would come out of them now."""
        self._prefixes.clear()

    def drop(self) -> None:
        """Forget everything, what is being read included."""
        self.prompts = Prompts(self._limits.block)
        self.forget()

    def beside(self, shape: CacheShape) -> None:
        """Earlier prompts may have what this cache leaves."""
        self._prefixes.bound(self._capacity.for_prefixes(shape))

    def enter(self, request: Request, admission: Admission, adapter: int, *, told: bool) -> None:
        """Let a prompt be read for these slots. told: somebody is to hear which experts its tokens were sent to."""
        chain = None
        if self._limits.max_prefix_bytes and request.salt is not None and not told:
            chain = Chain(request.salt, adapter, request.prompt, self._limits.block)
        self.prompts.add(Reading(request, admission, adapter, chain))

    def withdraw(self, ticket: Ticket) -> list[int]:
        """See `Prompts.withdraw`."""
        return self.prompts.withdraw(ticket)

    def read(self, machinery: Machinery, *, told: bool) -> Iterator[tuple[list[Reading], Tensor]]:
        """Read as much as a step may, or one piece if that is more.

        Yields those whose prompts have ended together, and what `prefill.logits_after` takes of them.
        told: note which experts tokens are sent to.
        """
        budget = left = self._limits.max_step_tokens or sys.maxsize
        while self.prompts and left > 0:
            first = self.prompts.first
            left -= -(-self._reuse(machinery, first) // PASTED_FOR_ONE)
            if left < budget and left < self.prompts.piece(first):
                return
            batch = self.prompts.batch(min(left, machinery.max_prefill_tokens))
            left -= sum(map(self.prompts.piece, batch))
            x = self._read_batch(machinery, batch, told=told)
            if first.has_ended:
                yield batch, x

    def _reuse(self, machinery: Machinery, reading: Reading) -> int:
        """Copy what is held of such a prompt; how many positions."""
        chain, start = reading.chain, reading.done
        if chain is None:
            return 0
        slots = torch.tensor(reading.admission.slots, device=machinery.device)
        while (found := self._prefixes.find(chain, reading.done // self._limits.block)) is not None:
            machinery.cache.paste(found, slots, reading.done)
            self.prompts.advance([reading])
        self._num_reused += reading.done - start
        return reading.done - start

    def _read_batch(self, machinery: Machinery, batch: list[Reading], *, told: bool) -> Tensor:
        start, prompts = batch[0].done, [each.prompt for each in batch]
        experts = [each.told for each in batch] if told else None
        x = read_piece(machinery, prompts, start, self._limits.block, experts)
        self.prompts.advance(batch)
        for each in batch:
            self._num_read += each.done - start
            self._keep(machinery, each, start)
        return x

    def _keep(self, machinery: Machinery, reading: Reading, start: int) -> None:
        """What has just been read of a prompt, for others of its salt."""
        chain, block = reading.chain, self._limits.block
        if chain is None:
            return
        if reading.done == start + block:
            held = machinery.cache.copied(reading.admission.slots[0], start, reading.done)
            self._prefixes.keep(chain, start // block, held)
        if reading.has_ended:
            self._prefixes.touch(chain)
