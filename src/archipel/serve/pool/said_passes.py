"""The parts of a message that say more than a number, a configuration and a pass: how they are said and understood.

Law: a pass whose parts do not belong together ends the link.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from archipel.engine.passing import Again, Block, Next, Pass
from archipel.model.config import DecoderConfig
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.messages import (
    Digest,
    SaidAgain,
    SaidBlock,
    SaidNext,
    Through,
    Words,
    among,
)
from archipel.serve.pool.weights import Layers, names_of

MAX_HOLDING_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 1 << 16


class _Holding(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    config: dict[str, Any]
    weights: Annotated[dict[Words, Digest], Field(max_length=MAX_TENSORS)]


@dataclass(frozen=True)
class Holding:
    """What layers are of, beside their numbers."""

    config: DecoderConfig
    weights: Mapping[str, str]
    """By name, the digest of their bytes in bfloat16."""


def read_holding(payload: bytes, layers: Layers) -> Holding:
    """The model that a gateway has, and the weights of these layers.

    Raises:
        LinkLost: it says none, or other weights than those of these layers.
    """
    try:
        if len(payload) > MAX_HOLDING_BYTES:
            raise ValueError(f"{len(payload)} bytes; expected {MAX_HOLDING_BYTES} at most")
        said = _Holding.model_validate_json(payload)
        config = DecoderConfig.from_hf(said.config)
        if not 0 <= layers[0] < layers[1] <= config.num_layers:
            raise ValueError(f"layers {layers} of a model of {config.num_layers}")
        if said.weights.keys() != set(names_of(config, layers)):
            raise ValueError(f"{len(said.weights)} weights, which are not those of layers {layers}")
    except (ValueError, RecursionError) as error:
        raise LinkLost(f"the other end asked to hold what is no model: {error!s:.300}") from None
    return Holding(config, said.weights)


def all_rows(said: Through, x: Tensor) -> Tensor:
    """Of a step of which some rows came."""
    only = said.only or ()
    count = len(said.what.positions) if isinstance(said.what, SaidNext) else 0
    if not only or len(only) != len(x) or len(set(only)) != len(only) or max(only) >= count:
        raise LinkLost(f"{len(x)} rows came as {len(only)} of a step of {count}")
    return among(x, only, count)


def pass_of(what: SaidNext | SaidBlock | SaidAgain, num_rows: int) -> Pass:
    """What a message says a pass of so many rows is.

    Raises:
        LinkLost: its parts do not belong together.
    """
    if isinstance(what, SaidNext):
        fits = len(what.positions) == num_rows > 0
        at, written = torch.tensor(what.positions, dtype=torch.int64), what.written
        if isinstance(written, int):
            fits = fits and all(each == written for each in what.positions)
            found: Pass = Next(at, written)
        else:
            fits = fits and len(written) == num_rows
            found = Next(at, torch.tensor(written, dtype=torch.int64))
    elif isinstance(what, SaidBlock):
        fits = len(what.slots) == len(what.lengths) and all(what.lengths)
        fits = fits and sum(what.lengths) <= num_rows and all(map(len, what.slots))
        found = Block(what.slots, what.lengths, what.start)
    else:
        fits = len(what.slots) == len(what.positions) == num_rows > 0
        found = Again.of(what.slots, what.positions)
    if not fits:
        raise LinkLost(f"a pass of {num_rows} rows came whose places do not belong to them")
    return found


def said_of(what: Pass) -> SaidNext | SaidBlock | SaidAgain:
    """A pass as a message says it."""
    if isinstance(what, Next):
        written = what.written
        return SaidNext(
            positions=tuple(what.positions.tolist()),
            written=written if isinstance(written, int) else tuple(written.tolist()),
        )
    if isinstance(what, Block):
        return SaidBlock(slots=what.slots, lengths=what.lengths, start=what.start)
    return SaidAgain(slots=tuple(what.slots.tolist()), positions=tuple(what.positions.tolist()))
