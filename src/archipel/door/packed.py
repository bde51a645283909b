"""Operations, outcomes and samples as bytes for the journal: a line of JSON, then its arrays.

Parts: `pack`, `unpack`; operations, outcomes and samples by them. Law: what is unpacked is to the bit what was packed.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archipel.door.hands import Completion, Sampled, TopK
from archipel.training.tenants.operations import (
    Array,
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)

DTYPES = ("<f4", "<f8", "<i4", "<i8", "|u1")


class Spoilt(ValueError):
    """These bytes are not what `pack` writes."""


def pack(document: Mapping[str, Any], arrays: Sequence[Array] = ()) -> bytes:
    """Any JSON, and arrays of one of `DTYPES`; floats come back the same."""
    laid = [np.ascontiguousarray(each).astype(each.dtype.newbyteorder("<")) for each in arrays]
    shapes = [[each.dtype.str, list(each.shape)] for each in laid]
    line = json.dumps([document, shapes], separators=(",", ":")).encode() + b"\n"
    return b"".join((line, *(each.tobytes() for each in laid)))


def unpack(data: bytes) -> tuple[dict[str, Any], list[Array]]:
    """The document and its arrays, read-only.

    Raises:
        Spoilt: that is what they are not.
    """
    end = data.find(b"\n")
    try:
        document, shapes = json.loads(data[:end])
        arrays, at = [], end + 1
        for dtype, shape in shapes:
            if dtype not in DTYPES:
                raise Spoilt(f"an array of {dtype!r}; expected one of {DTYPES}")
            count = int(np.prod(shape, dtype=np.int64))
            arrays.append(np.frombuffer(data, dtype, count, at).reshape(shape))
            at += arrays[-1].nbytes
    except (ValueError, TypeError) as error:
        raise Spoilt(f"the journal holds what it did not write: {error}") from None
    if at != len(data):
        raise Spoilt(f"{len(data) - at} bytes more than its arrays take")
    return document, arrays


def operation_bytes(operation: Operation) -> bytes:
    """An operation of a model."""
    if isinstance(operation, OptimStep):
        return pack({"optim_step": vars(operation)})
    names = [sorted(each.inputs) for each in operation.data]
    arrays = [
        array
        for datum, sorted_names in zip(operation.data, names, strict=True)
        for array in (datum.tokens_T, *(datum.inputs[name] for name in sorted_names))
    ]
    said = {
        "inputs": names,
        "loss": operation.loss,
        "config": dict(operation.config),
        "forward_only": operation.forward_only,
    }
    return pack({"forward_backward": said}, arrays)


def operation_of(data: bytes) -> Operation:
    """What `operation_bytes` was given. Raises Spoilt."""
    document, arrays = unpack(data)
    if "optim_step" in document:
        return OptimStep(**document["optim_step"])
    said, left = document["forward_backward"], iter(arrays)
    data_of = tuple(
        Datum(next(left), {name: next(left) for name in names}) for names in said["inputs"]
    )
    return ForwardBackward(data_of, said["loss"], said["config"], said["forward_only"])


def outcome_bytes(outcome: Outcome) -> bytes:
    """What came of an operation."""
    if isinstance(outcome, Scored):
        return pack({"scored": dict(outcome.metrics)}, outcome.logprobs)
    if isinstance(outcome, Stepped):
        return pack({"stepped": dict(outcome.metrics)})
    return pack({"refused": outcome.reason})


def outcome_of(data: bytes) -> Outcome:
    """What `outcome_bytes` was given. Raises Spoilt."""
    document, arrays = unpack(data)
    if "scored" in document:
        return Scored(tuple(arrays), document["scored"])
    if "stepped" in document:
        return Stepped(document["stepped"])
    return Refused(document["refused"])


def sampled_bytes(sampled: Sampled) -> bytes:
    """What came of a sample."""
    arrays: list[Array] = []

    def put(array: Array | None) -> int:
        if array is None:
            return -1
        arrays.append(array)
        return len(arrays) - 1

    def put_topk(topk: TopK | None) -> list[int] | None:
        return None if topk is None else [put(topk.tokens), put(topk.logprobs)]

    sequences = [
        [
            put(np.array(each.tokens, np.int32)),
            put(np.array(each.logprobs, np.float64)),
            each.ended_by,
            put_topk(each.topk),
        ]
        for each in sampled.sequences
    ]
    document = {
        "sequences": sequences,
        "prompt_logprobs": put(sampled.prompt_logprobs),
        "topk_prompt": put_topk(sampled.topk_prompt),
        "target_prompt": put(sampled.target_prompt),
        "num_tokens": sampled.num_tokens,
    }
    return pack({"sampled": document}, arrays)


def sampled_of(data: bytes) -> Sampled:
    """What `sampled_bytes` was given. Raises Spoilt."""
    document, arrays = unpack(data)
    said = document["sampled"]

    def got(place: int) -> Array | None:
        return None if place < 0 else arrays[place]

    def got_topk(places: list[int] | None) -> TopK | None:
        return None if places is None else TopK(arrays[places[0]], arrays[places[1]])

    sequences = tuple(
        Completion(
            tuple(arrays[tokens].tolist()),
            tuple(arrays[logprobs].tolist()),
            ended_by,
            got_topk(topk),
        )
        for tokens, logprobs, ended_by, topk in said["sequences"]
    )
    return Sampled(
        sequences,
        got(said["prompt_logprobs"]),
        got_topk(said["topk_prompt"]),
        got(said["target_prompt"]),
        said["num_tokens"],
    )
