"""Prompts as they travel, and what can be wrong with tokens that travel.

A payload has `tokens` I32 and `lengths` I32, one for each group of a batch; where episodes are played whose tasks are
chosen, also `tasks` I32, the number of each group's task.
"""

from array import array
from collections.abc import Sequence

from archipel.records.payload import BadPayload, Payload, read_payload, write_payload

MAX_PROMPT_TOKENS = 2**20
_PROMPT_TENSORS = {"tokens": "I32", "lengths": "I32"}
_TASKS = {"tasks": "I32"}


class WrongShape(BadPayload):
    """Counts or lengths that do not match what was asked."""


class OutOfRange(BadPayload):
    """A token id, flag or log-probability outside what is possible."""


class NotFinite(BadPayload):
    """A log-probability that is NaN or infinite."""


class WrongLabel(BadPayload):
    """The payload names another work, policy or contract than it is submitted for."""


def pack_prompts(
    prompts: Sequence[Sequence[int]], *, batch: int, tasks: Sequence[int] | None = None
) -> bytes:
    """Payload bytes for the prompts of batch `batch`, in the order of its groups. tasks: of which tasks they are, where
    whoever plays has to know.
    """
    tensors = {
        "tokens": array("i", [token for prompt in prompts for token in prompt]),
        "lengths": array("i", [len(prompt) for prompt in prompts]),
    }
    if tasks is not None:
        tensors["tasks"] = array("i", tasks)
    metadata = {"format": "archipel.prompts.v1", "batch": str(batch)}
    return write_payload(Payload(tensors, metadata))


def unpack_prompts(data: bytes | memoryview) -> tuple[int, list[tuple[int, ...]]]:
    """(batch number, prompts).

    Raises:
        BadPayload: malformed, empty prompts, or lengths that do not add up.
    """
    batch, prompts, _ = unpack_tasks(data)
    return batch, prompts


def unpack_tasks(
    data: bytes | memoryview,
) -> tuple[int, list[tuple[int, ...]], tuple[int, ...] | None]:
    """(batch number, prompts, numbers of their tasks); None: they say nothing of these.

    Raises:
        BadPayload: as `unpack_prompts`, or numbers that no tasks have.
    """
    payload = read_payload(data, _PROMPT_TENSORS, _TASKS)
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
    tasks = payload.tensors.get("tasks")
    if tasks is not None and (len(tasks) != len(prompts) or any(task < 0 for task in tasks)):
        raise WrongShape(
            f"{len(tasks)} tasks of {len(prompts)} prompts, expected a number for each"
        )
    return int(batch), prompts, None if tasks is None else tuple(tasks)
