"""A turn's operations and their outcomes as bytes, for whoever has them done elsewhere.

Parts: `pack_operations`, `unpack_operations`; `pack_outcomes`, `unpack_outcomes`; `num_tokens_of`.
Laws: numbers come out with the bits that went in, those that are none among them; equal operations are equal bytes; what
operations mean is for `Tenants` to judge, here alone their form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Closed
from archipel.records.payload import BadPayload
from archipel.training.tenants.columns import Columns, Opened
from archipel.training.tenants.operations import (
    Array,
    Datum,
    ForwardBackward,
    LossName,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)

OPERATIONS, OUTCOMES = "archipel.operations.v1", "archipel.outcomes.v1"
MAX_OPERATIONS = 4096
"""Of one turn."""
MAX_DATA = 4096
"""Of one operation: more than a client may send at once, since it sends one operation in pieces."""
MAX_TOKENS = 2**24
"""Of one datum; what a model reads at most is less."""
MAX_NAMES = 32
MAX_REASON = 2000
"""Characters of the reason of a refusal."""
LONG = "target_tokens"
"""The only input of 64-bit integers."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Metric = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:./ -]{1,96}$")]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_NAMES)]
Metrics = Annotated[tuple[Metric, ...], Field(max_length=MAX_NAMES)]
Length = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
_STEP = tuple(each.name for each in fields(OptimStep))


class _Datum(Closed):
    tokens: Length
    inputs: Names


class _ForwardBackward(Closed):
    do: Literal["forward_backward"] = "forward_backward"
    loss: LossName
    config: Names
    forward_only: bool
    data: Annotated[tuple[_Datum, ...], Field(max_length=MAX_DATA)]


class _OptimStep(Closed):
    do: Literal["optim_step"] = "optim_step"


_Asked = Annotated[_ForwardBackward | _OptimStep, Field(discriminator="do")]


class _Operations(Closed):
    operations: Annotated[tuple[_Asked, ...], Field(max_length=MAX_OPERATIONS)]


class _Scored(Closed):
    came: Literal["scored"] = "scored"
    lengths: Annotated[tuple[Length, ...], Field(max_length=MAX_DATA)]
    metrics: Metrics


class _Stepped(Closed):
    came: Literal["stepped"] = "stepped"
    metrics: Metrics


class _Refused(Closed):
    came: Literal["refused"] = "refused"
    reason: Annotated[str, Field(max_length=MAX_REASON)]


_Came = Annotated[_Scored | _Stepped | _Refused, Field(discriminator="came")]


class _Outcomes(Closed):
    outcomes: Annotated[tuple[_Came, ...], Field(max_length=MAX_OPERATIONS)]


def pack_operations(operations: Sequence[Operation]) -> bytes:
    """The bytes of a turn's operations, in their order.

    Raises:
        ValueError: names or numbers of them that no reader takes.
    """
    columns = Columns()
    asked = tuple(_asked(columns, each) for each in operations)
    return columns.to_bytes(OPERATIONS, _Operations(operations=asked))


def unpack_operations(data: bytes | memoryview) -> tuple[Operation, ...]:
    """What `pack_operations` was given.

    Raises:
        BadPayload: these bytes are no operations.
    """
    opened = Opened(data, OPERATIONS, _Operations)
    operations = tuple(_operation(opened, each) for each in opened.document.operations)
    opened.end()
    return operations


def num_tokens_of(operations: Sequence[Operation]) -> int:
    """Tokens that these have, for a bill; one at least."""
    forward = (each for each in operations if isinstance(each, ForwardBackward))
    return max(1, sum(len(datum.tokens_T) for each in forward for datum in each.data))


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """The bytes of what came of a turn, in its order."""
    columns = Columns()
    came = tuple(_came(columns, each) for each in outcomes)
    return columns.to_bytes(OUTCOMES, _Outcomes(outcomes=came))


def unpack_outcomes(
    data: bytes | memoryview, operations: Sequence[Operation]
) -> tuple[Outcome, ...]:
    """What came of these operations.

    Raises:
        BadPayload: these bytes are no outcomes, or not of these operations: other kinds, counts or lengths.
    """
    opened = Opened(data, OUTCOMES, _Outcomes)
    came = opened.document.outcomes
    if len(came) != len(operations):
        raise BadPayload(f"{len(came)} outcomes of {len(operations)} operations; expected as many")
    outcomes = tuple(
        _outcome(opened, said, asked) for said, asked in zip(came, operations, strict=True)
    )
    opened.end()
    return outcomes


def _asked(columns: Columns, operation: Operation) -> _ForwardBackward | _OptimStep:
    if isinstance(operation, OptimStep):
        columns.put("numbers", astuple(operation))
        return _OptimStep()
    columns.put("numbers", operation.config.values())
    return _ForwardBackward(
        loss=operation.loss,
        config=tuple(operation.config),
        forward_only=operation.forward_only,
        data=tuple(_put(columns, each) for each in operation.data),
    )


def _put(columns: Columns, datum: Datum) -> _Datum:
    length = columns.put("integers", datum.tokens_T)
    for name, values in datum.inputs.items():
        if values.shape != (length,):
            raise ValueError(f"{name} has the shape {values.shape}, the datum {length} tokens")
        columns.put("longs" if name == LONG else "floats", values)
    return _Datum(tokens=length, inputs=tuple(datum.inputs))


def _operation(opened: Opened[_Operations], said: _ForwardBackward | _OptimStep) -> Operation:
    if isinstance(said, _OptimStep):
        return OptimStep(*opened.take("numbers", len(_STEP)).tolist())
    config = _named(said.config, opened.take("numbers", len(said.config)).tolist())
    data = tuple(_taken(opened, each) for each in said.data)
    return ForwardBackward(data, said.loss, config, said.forward_only)


def _taken(opened: Opened[_Operations], said: _Datum) -> Datum:
    tokens = opened.take("integers", said.tokens)
    found: list[Array] = [
        opened.take("longs" if name == LONG else "floats", said.tokens) for name in said.inputs
    ]
    return Datum(tokens, _named(said.inputs, found))


def _came(columns: Columns, outcome: Outcome) -> _Scored | _Stepped | _Refused:
    if isinstance(outcome, Refused):
        return _Refused(reason=outcome.reason[:MAX_REASON])
    columns.put("numbers", outcome.metrics.values())
    if isinstance(outcome, Stepped):
        return _Stepped(metrics=tuple(outcome.metrics))
    lengths = tuple(columns.put("floats", each) for each in outcome.logprobs)
    return _Scored(lengths=lengths, metrics=tuple(outcome.metrics))


def _outcome(
    opened: Opened[_Outcomes], said: _Scored | _Stepped | _Refused, asked: Operation
) -> Outcome:
    if isinstance(said, _Refused):
        return Refused(said.reason)
    if isinstance(said, _Stepped) != isinstance(asked, OptimStep):
        raise BadPayload(f"{said.came} came of {type(asked).__name__}; expected its own outcome")
    metrics = _named(said.metrics, opened.take("numbers", len(said.metrics)).tolist())
    if isinstance(said, _Stepped) or isinstance(asked, OptimStep):
        return Stepped(metrics)
    expected = tuple(len(each.tokens_T) for each in asked.data)
    if said.lengths != expected:
        raise BadPayload(
            f"log-probabilities of {list(said.lengths)[:8]} tokens; expected {list(expected)[:8]}, as were asked"
        )
    return Scored(tuple(opened.take("floats", each) for each in said.lengths), metrics)


def _named(names: tuple[str, ...], values: Sequence) -> Mapping:
    """Raises BadPayload: a name is there twice."""
    named = dict(zip(names, values, strict=True))
    if len(named) < len(names):
        raise BadPayload(f"a name is there twice in {', '.join(names):.200}; name each once")
    return named
