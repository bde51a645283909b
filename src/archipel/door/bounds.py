"""How much a door holds for its tenants, and how long.

Law: every queue, store and wait of a door has its bound here; what is over a bound is refused with words before it costs.
"""

from dataclasses import dataclass

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Bounds:
    """Of one door. Those of a tenant are shared by all of its keys."""

    futures_waiting: int = 1000
    """Of a tenant: acknowledged and not ended."""
    question_bytes_waiting: int = 1 << 30
    """Of a tenant: what those lie on the disk with."""
    answer_bytes: int = 1 << 30
    """Of a tenant: of answers that nobody has fetched; more is asked for only after some were."""
    sessions: int = 1000
    """Of a tenant, alive."""
    ended_sessions: int = 10_000
    """Of a tenant: those that ended and are still told of; the oldest go, unless a checkpoint came of them."""
    models: int = 256
    """Of a tenant, alive."""
    checkpoints: int = 10_000
    """Of a tenant."""
    checkpoint_bytes: int = 256 << 30
    """Of a tenant: what those lie on the disk with, so that nobody fills it alone."""
    samplers: int = 10_000
    """Of a session."""
    seqs_ahead: int = 4096
    """How far the number of an operation may be beyond the next one to be done."""
    turn_operations: int = 64
    turn_bytes: int = 64 << 20
    """Of one turn; one operation may be larger."""
    keep_steps: int = 16
    keep_bytes: int = 256 << 20
    """So many optimiser steps, or bytes of operations, after a model was kept it is kept again."""
    resident_idle_ms: int = 10 * MINUTE_MS
    """A model that nobody asked anything of for so long is kept and gives its memory back."""
    session_ms: int = 30 * MINUTE_MS
    """Without a heartbeat."""
    fetched_ms: int = 10 * MINUTE_MS
    """An answer that was fetched can be fetched again for so long."""
    unfetched_ms: int = HOUR_MS
    """And one that never was, from its end."""
    missing_ms: int = 10 * MINUTE_MS
    """For operations whose predecessor does not come."""
    sequence_ms: int = DAY_MS
    """A sampled sequence, from its last use."""
    sequences: int = 1_000_000
    """Of a tenant; the oldest go."""
    poll_s: float = 30.0
    """One long poll."""
    samples_at_once: int = 256
    """Of a tenant, handed over; the others wait in the journal."""


def lasts_until(ttl_s: int | None, now_ms: int) -> int | None:
    """When something with this time to live ends; None: never."""
    return None if ttl_s is None else now_ms + ttl_s * 1000
