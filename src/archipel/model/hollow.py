"""A decoder without numbers: its names and shapes, and nothing allocated or drawn."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder

DRAWS = frozenset({init.normal_, init.uniform_, init.kaiming_uniform_})
"""How PyTorch's own layers fill themselves."""


class Undrawn(TorchFunctionMode):
    """Leaves tensors as they are: to draw on the meta device PyTorch loads its compiler, 1.5 s of processor."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in DRAWS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def hollow(config: DecoderConfig) -> Decoder:
    """A decoder of this shape on the meta device."""
    with torch.device("meta"), Undrawn():
        return Decoder(config)
