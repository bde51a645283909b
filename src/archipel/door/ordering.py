"""Which of a model's operations are done next, and together.

Law: in the order of their numbers, none left out; what reads or replaces the whole state stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TRAINING = ("forward", "forward_backward", "optim_step")
"""Kinds that are handed over together."""
ALONE = ("create", "load", "save", "publish", "external")
Where = Literal["done", "here", "too_far"]


@dataclass(frozen=True)
class Queued:
    """An operation that waits."""

    seq: int
    kind: str
    num_bytes: int


def where(seq: int, next_seq: int, seqs_ahead: int) -> Where:
    """Where an operation that was not heard of before stands. next_seq: of the first that is not done."""
    if seq < next_seq:
        return "done"
    return "here" if seq < next_seq + seqs_ahead else "too_far"


def next_together(
    waiting: Sequence[Queued], next_seq: int, operations: int, num_bytes: int
) -> tuple[Queued, ...]:
    """The operations that are done next: one alone, or training operations with nothing missing between them.

    waiting: by their numbers. operations, num_bytes: most of one turn, though one operation may be larger.
    """
    chosen: list[Queued] = []
    size = 0
    for each in waiting:
        if each.seq != next_seq + len(chosen):
            break
        if each.kind not in TRAINING:
            return tuple(chosen) or (each,)
        size += each.num_bytes
        if chosen and (len(chosen) >= operations or size > num_bytes):
            break
        chosen.append(each)
    return tuple(chosen)
