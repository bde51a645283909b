"""Is what a tenant asks fit for this model? Refused with a sentence before anything is computed."""

import math
from collections.abc import Iterator

import numpy as np

from archipel.model.config import DecoderConfig
from archipel.training.tenants.losses import LOSSES, constants_of
from archipel.training.tenants.operations import Datum, ForwardBackward, Operation, OptimStep

MAX_RATE = 10.0
MAX_WEIGHT = 1e6
"""Of a weight or an advantage: beyond it fp32 sums say nothing."""


def fault_of(operation: Operation, config: DecoderConfig) -> str | None:
    """What is wrong with it, got and expected; None: nothing."""
    if isinstance(operation, OptimStep):
        return _step_fault(operation)
    if operation.loss not in LOSSES:
        return f"loss {operation.loss!r:.60} is unknown; expected one of {', '.join(LOSSES)}"
    try:
        constants_of(operation.loss, operation.config)
    except ValueError as error:
        return str(error)
    if not operation.data:
        return "there is no datum; send at least one"
    return next(_data_faults(operation, config), None)


def _step_fault(asked: OptimStep) -> str | None:
    bounds = {
        "learning_rate": (asked.learning_rate, 0.0, MAX_RATE),
        "beta1": (asked.beta1, 0.0, 1.0),
        "beta2": (asked.beta2, 0.0, 1.0),
        "eps": (asked.epsilon, 0.0, 1.0),
        "weight_decay": (asked.weight_decay, 0.0, MAX_RATE),
        "grad_clip_norm": (asked.clip_norm, 0.0, math.inf),
    }
    for name, (value, least, most) in bounds.items():
        if math.isnan(value) or math.isinf(value) or not least <= value <= most:
            return f"{name} is {value}; expected {least:g} to {most:g}"
        if name.startswith("beta") and value >= 1.0:
            return f"{name} is {value}; expected less than 1"
    return None


def _data_faults(operation: ForwardBackward, config: DecoderConfig) -> Iterator[str]:
    for number, datum in enumerate(operation.data):
        for fault in _datum_faults(operation, datum, config):
            yield f"datum {number}: {fault}"


def _datum_faults(operation: ForwardBackward, datum: Datum, config: DecoderConfig) -> Iterator[str]:
    length, most = datum.tokens_T.shape[0], config.max_position_embeddings
    if not 1 <= length <= most:
        yield f"it has {length} tokens; expected 1 to {most}, the model's context"
        return
    yield from _token_faults("model_input", datum.tokens_T, config.vocab_size)
    loss = LOSSES[operation.loss]
    for name in ("target_tokens", *loss.needs):
        if name not in datum.inputs:
            yield f"loss {operation.loss} needs {name!r}, which is not there"
    for name, values in datum.inputs.items():
        if name not in ("target_tokens", *loss.needs, *loss.may_have):
            has = ", ".join(("target_tokens", *loss.needs, *loss.may_have))
            yield f"loss {operation.loss} takes no {name!r:.60}; expected {has}"
        elif values.shape != (length,):
            yield f"{name} has shape {values.shape}; expected ({length},), a number for each token"
        elif name == "target_tokens":
            yield from _token_faults(name, values, config.vocab_size)
        elif not (np.isfinite(values).all() and (np.abs(values) <= MAX_WEIGHT).all()):
            place = int(np.argmax(~(np.abs(values) <= MAX_WEIGHT)))
            yield f"{name}[{place}] is {values[place]}; expected finite numbers within {MAX_WEIGHT:g}"


def _token_faults(name: str, tokens_T: np.ndarray, vocab_size: int) -> Iterator[str]:
    outside = (tokens_T < 0) | (tokens_T >= vocab_size)
    if outside.any():
        place = int(np.argmax(outside))
        yield f"{name}[{place}] is {int(tokens_T[place])}; expected 0 to {vocab_size - 1}"
