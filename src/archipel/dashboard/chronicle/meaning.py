"""What one entry says, in a chronicle's words: the run it is about, what an answer counted. Pure."""

import json
from collections.abc import Mapping

from archipel.market.journal import Posting

_OF_A_RUN = frozenset({"escrow", "held", "run-treasury"})
"""Kinds of accounts that name a run."""


def about(said: object) -> str:
    """The run that a statement is about, empty if it is about none."""
    work = getattr(said, "work", None)
    if isinstance(work, str):
        return work.rpartition(".")[0]
    run = getattr(said, "run", None)
    return run if isinstance(run, str) else ""


def run_of(posting: Posting) -> str | None:
    """The run whose money moves, where an account says it."""
    for account in (posting.source, posting.target):
        kind, _, rest = account.partition(":")
        if kind in _OF_A_RUN:
            return rest.rpartition(":")[2]
    return None


def effort(answer: object, groups: int) -> tuple[int, int, int]:
    """(units, tokens, bytes) that an accepted answer counts for its node; groups: that it was asked for."""
    tokens = int(getattr(answer, "num_tokens", 0))
    blobs = (getattr(answer, name, None) for name in ("result", "payload", "state", "outcomes"))
    num_bytes = sum(blob.size for blob in blobs if blob is not None)
    if groups:
        return groups, tokens, num_bytes
    return int(getattr(answer, "steps", tokens)), tokens, num_bytes


def text_of(metrics: Mapping[str, int]) -> str:
    return json.dumps(metrics, sort_keys=True, separators=(",", ":"))
