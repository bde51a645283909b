"""Prompts as they travel, and what can be wrong with tokens that travel.

A payload has `tokens` I32 and `lengths` I32, one for each group of a batch.
"""

from array import array
from collections.abc import Sequence

from archipel.records.payload import BadPayload, Payload, read_payload, write_payload

MAX_PROMPT_TOKENS = 2**20
_PROMPT_TENSORS = {"tokens": "I32", "lengths": "I32"}


class WrongShape(BadPayload):
    """Counts or lengths that do not match what was asked."""


class OutOfRange(BadPayload):
    """A token id, flag or log-probability outside what is possible."""


class NotFinite(BadPayload):
    """A log-probability that is NaN or infinite."""


class WrongLabel(BadPayload):
    """The payload names another work, policy or contract than it is submitted for."""


def pack_prompts(prompts: Sequence[Sequence[int]], *, batch: int) -> bytes:
    """Payload bytes for the prompts of batch `batch`, in the order of its groups."""
    return write_payload(
        Payload(
            tensors={
                "tokens": array("i", [token for prompt in prompts for token in prompt]),
                "lengths": array("i", [len(prompt) for prompt in prompts]),
            },
            metadata={"format": "archipel.prompts.v1", "batch": str(batch)},
        )
    )


def unpack_prompts(data: bytes | memoryview) -> tuple[int, list[tuple[int, ...]]]:
    """(batch number, prompts).

    Raises:
        BadPayload: malformed, empty prompts, or lengths that do not add up.
    """
    payload = read_payload(data, _PROMPT_TENSORS)
    tokens, lengths = payload.tensors["tokens"], payload.tensors["lengths"]
    batch = payload.metadata.get("batch", "")
    if not batch.isascii() or not batch.isdigit() or len(batch) > 12:
        raise WrongLabel(f"payload names batch {batch!r:.20}, expected a number")
    if any(not 1 <= length <= MAX_PROMPT_TOKENS for length in lengths) or sum(lengths) != len(
        tokens
    ):
        raise WrongShape(
            f"prompt lengths add up to {sum(lengths)}, but there are {len(tokens)} tokens"
        )
    prompts, start = [], 0
    for length in lengths:
        prompts.append(tuple(tokens[start : start + length]))
        start += length
    return int(batch), prompts
