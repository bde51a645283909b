"""forward_backward and forward, in protobuf and in the older clients' JSON, into operations of a tenant's adapter.

Parts: `Asked` (the question), `read_message`, `read_json`, `fit` (against the model, once it is known).
Law: an operation that leaves here has arrays of the types and lengths that `training.tenants.operations` names, with
finite numbers, and all the inputs that its loss needs.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import numpy as np
from pydantic import Field

from archipel.door.wire import bounds, messages, tensors
from archipel.door.wire.chunks import Chunk, tokens_of
from archipel.door.wire.counting import check_count
from archipel.door.wire.errors import Refused
from archipel.door.wire.provenance import Provenance, provenance_of
from archipel.door.wire.reading import Body, Id, TrainingSeqId, read
from archipel.training.tenants.operations import Array, Datum, ForwardBackward, LossName

DATA_FIELD = 3
"""Of a ForwardBackwardRequest."""
MAX_FIELDS = bounds.MAX_DATA + 4 * bounds.MAX_CONSTANTS + 16
MAX_FIELDS_WITHIN = bounds.MAX_CHUNKS + bounds.MAX_INPUTS + 2 * bounds.MAX_SPANS
MASK = "sequence_ratio_mask"
"""What the clients call the input `mask`."""
INPUTS: Mapping[str, type[np.generic]] = {
    "target_tokens": np.int64,
    "weights": np.float32,
    "logprobs": np.float32,
    "advantages": np.float32,
    "mask": np.float32,
}
"""Every input that some loss takes, and its type."""
LOSSES: Mapping[str, LossName] = {name: name for name in get_args(LossName)}
NEEDED: Mapping[LossName, frozenset[str]] = {
    name: frozenset({"target_tokens"})
    if name == "cross_entropy"
    else frozenset({"target_tokens", "logprobs", "advantages"})
    for name in LOSSES.values()
}
UNSENT: Mapping[LossName, frozenset[str]] = {"stable_reinforce": frozenset({"logprobs"})}
"""Inputs that the door has from its own records: clients need not send them, and are not believed where they do."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One forward_backward or forward of one model."""

    model: str
    seq_id: int
    operation: ForwardBackward
    provenance: tuple[Provenance | None, ...]
    """Of each datum."""

    @property
    def num_tokens(self) -> int:
        """Over all data."""
        return sum(len(datum.tokens_T) for datum in self.operation.data)


class _DatumBody(Body):
    loss_fn_inputs: Annotated[dict[str, tensors.TensorData], Field(max_length=bounds.MAX_INPUTS)]
    model_input: "_ModelInput"


class _ModelInput(Body):
    chunks: Annotated[list[Chunk], Field(max_length=bounds.MAX_CHUNKS, fail_fast=True)]


class _Input(Body):
    data: Annotated[list[_DatumBody], Field(max_length=bounds.MAX_DATA, fail_fast=True)]
    loss_fn: str
    loss_fn_config: (
        Annotated[dict[str, float | str], Field(max_length=bounds.MAX_CONSTANTS)] | None
    ) = None


class _ForwardBackwardBody(Body):
    model_id: Id
    seq_id: TrainingSeqId
    forward_backward_input: _Input


class _ForwardBody(Body):
    model_id: Id
    seq_id: TrainingSeqId
    forward_input: _Input


def read_json(body: bytes, forward_only: bool) -> Asked:
    """The question of a client before 0.25; forward_only: it came to /forward.

    Raises:
        Refused: see `read_message`.
    """
    form = _ForwardBody if forward_only else _ForwardBackwardBody
    said: Any = read(form, body, bounds.MAX_TRAINING_JSON_BYTES)
    asked = said.forward_input if forward_only else said.forward_backward_input
    data = (
        (
            tokens_of(datum.model_input.chunks, f"datum {place}"),
            {
                name: tensors.read_json(each, f"{name} of datum {place}")
                for name, each in datum.loss_fn_inputs.items()
            },
        )
        for place, datum in enumerate(asked.data)
    )
    operation = _operation(data, asked.loss_fn, asked.loss_fn_config or {}, forward_only)
    return Asked(said.model_id, said.seq_id, operation, (None,) * len(operation.data))


def read_message(body: bytes) -> Asked:
    """The question of a client in protobuf, out of its compression.

    Raises:
        Refused: `malformed`: it cannot be read; `too_large`; `impossible`: numbers, shapes or names that make no sense;
            `not_offered`: images, sound, losses of the client's own.
    """
    check_count(body, DATA_FIELD, MAX_FIELDS, MAX_FIELDS_WITHIN)
    said = messages.parse("ForwardBackwardRequest", body)
    if not 0 < len(said.model_id) <= bounds.MAX_NAME_CHARACTERS or said.seq_id < 1:
        raise Refused(
            "impossible",
            f"model_id {said.model_id!r:.40} and seq_id {said.seq_id}; expected the model's id and a number from 1 up",
        )
    operation = _operation(_data_of(said), said.loss_fn, _constants(said), said.forward_only)
    spans = zip(said.data, operation.data, strict=True)
    return Asked(
        said.model_id,
        said.seq_id,
        operation,
        tuple(provenance_of(each, len(datum.tokens_T)) for each, datum in spans),
    )


def fit(asked: Asked, max_context: int, vocab_size: int) -> None:
    """That the model can read it.

    Raises:
        Refused: `impossible`.
    """
    for place, datum in enumerate(asked.operation.data):
        if len(datum.tokens_T) > max_context:
            raise Refused(
                "impossible",
                f"datum {place} has {len(datum.tokens_T)} tokens; this model reads at most {max_context}",
            )
        for name, tokens in (
            ("tokens", datum.tokens_T),
            ("targets", datum.inputs["target_tokens"]),
        ):
            if int(tokens.max()) >= vocab_size:
                raise Refused(
                    "impossible",
                    f"{name} of datum {place} go up to {int(tokens.max())}; this model knows 0 to {vocab_size - 1}",
                )


def _operation(
    data: Iterable[tuple[Array, Mapping[str, tensors.Cells]]],
    loss: str,
    constants: Mapping[str, Any],
    forward_only: bool,
) -> ForwardBackward:
    name = LOSSES.get(loss)
    if name is None:
        hint = (
            "compute it from the log-probabilities with forward_backward_custom and custom_loss_server_side off"
            if loss == "custom"
            else "expected one of " + ", ".join(LOSSES)
        )
        raise Refused("not_offered", f"the loss {loss!r:.40} is not offered here; {hint}")
    made: list[Datum] = []
    num_tokens = 0
    for place, (tokens, inputs) in enumerate(data):
        made.append(_datum(place, tokens, inputs, name))
        num_tokens += len(tokens)
        if num_tokens > bounds.MAX_TOKENS_PER_CALL:
            raise Refused(
                "too_large",
                f"more than {bounds.MAX_TOKENS_PER_CALL} tokens in one call; send fewer data at once",
            )
    if not made:
        raise Refused("impossible", "no data; send at least one datum")
    return ForwardBackward(tuple(made), name, _numbers(constants), forward_only)


def _datum(place: int, tokens: Array, said: Mapping[str, tensors.Cells], loss: LossName) -> Datum:
    about = f"datum {place}"
    if not len(tokens):
        raise Refused("impossible", f"{about} has no tokens; send at least one")
    given = {"mask" if name == MASK else name: each for name, each in said.items()}
    unsent = UNSENT.get(loss, frozenset())
    if missing := NEEDED[loss] - unsent - given.keys():
        raise Refused(
            "impossible", f"{about} lacks {', '.join(sorted(missing))}, which {loss} needs"
        )
    if strange := given.keys() - INPUTS.keys():
        raise Refused(
            "impossible",
            f"{about} has the input {min(strange)!r:.60}; {loss} takes {', '.join(sorted(INPUTS))}",
        )
    inputs = {
        name: _input(given[name], kind, len(tokens), f"{name} of {about}")
        for name, kind in INPUTS.items()
        if name in given
    }
    if loss == "cross_entropy":
        inputs.setdefault("weights", _frozen(np.ones(len(tokens), np.float32)))
    targets = inputs["target_tokens"]
    if int(targets.min()) < 0:
        raise Refused(
            "impossible",
            f"target_tokens of {about} has {int(targets.min())}; expected tokens, and the weight 0 where none counts",
        )
    return Datum(_frozen(tokens), inputs)


def _input(cells: tensors.Cells, kind: type[np.generic], length: int, name: str) -> Array:
    if math.prod(cells.shape) != length or (len(cells.shape) == 2 and cells.shape[1] != 1):
        raise Refused(
            "impossible",
            f"{name} has the shape {list(cells.shape)}; expected [{length}], a number for each token, and several "
            "targets at one place are not offered here",
        )
    if kind is np.int64 and cells.values.dtype.kind != "i":
        raise Refused("impossible", f"{name} are float numbers; expected int64")
    return _frozen(tensors.dense(cells, name).reshape(length).astype(kind))


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _numbers(constants: Mapping[str, Any]) -> dict[str, float]:
    """Of the loss; which there are is the loss's own to know."""
    if len(constants) > bounds.MAX_CONSTANTS:
        raise Refused(
            "too_large", f"{len(constants)} constants of a loss; at most {bounds.MAX_CONSTANTS}"
        )
    for name, value in constants.items():
        if isinstance(value, str) or not math.isfinite(value):
            raise Refused(
                "impossible",
                f"the loss's constant {name!r:.40} is {value!r:.40}; expected a finite number",
            )
    return {name[: bounds.MAX_NAME_CHARACTERS]: float(value) for name, value in constants.items()}


def _constants(said: Any) -> dict[str, Any]:
    """The newer map where it is there: clients write numbers into both."""
    if not said.loss_fn_config_v2:
        return dict(said.loss_fn_config)
    return {
        name: value.text if value.WhichOneof("value") == "text" else value.number
        for name, value in said.loss_fn_config_v2.items()
    }


def _data_of(said: Any) -> Iterator[tuple[Array, dict[str, tensors.Cells]]]:
    if len(said.data) > bounds.MAX_DATA:
        raise Refused("too_large", f"{len(said.data)} data; at most {bounds.MAX_DATA} in one call")
    for place, datum in enumerate(said.data):
        if len(datum.loss_fn_inputs) > bounds.MAX_INPUTS:
            raise Refused("too_large", f"{len(datum.loss_fn_inputs)} inputs of datum {place}")
        inputs = {
            name: tensors.read_message(each, f"{name} of datum {place}")
            for name, each in datum.loss_fn_inputs.items()
        }
        yield tokens_of(datum.model_input, f"datum {place}"), inputs
