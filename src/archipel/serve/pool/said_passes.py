"""What a device makes of the parts of a message that say more than a number: a configuration, a pass.

Law: a pass whose parts do not belong together ends the link.
"""

import json

import torch
from torch import Tensor

from archipel.engine.passing import Again, Block, Next, Pass
from archipel.model.config import DecoderConfig
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.messages import SaidAgain, SaidBlock, SaidNext, Through, among

MAX_CONFIG_BYTES = 1 << 20


def read_config_bytes(payload: bytes) -> DecoderConfig:
    """The architecture that a config.json describes.

    Raises:
        LinkLost: it is none.
    """
    try:
        if len(payload) > MAX_CONFIG_BYTES:
            raise ValueError(f"{len(payload)} bytes")
        fields = json.loads(payload)
        return DecoderConfig.from_hf(dict(fields))
    except (ValueError, TypeError, RecursionError) as error:
        raise LinkLost(f"the other end sent a configuration that is none: {error!s:.300}") from None


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
