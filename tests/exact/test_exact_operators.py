"""A law of exact arithmetic: only single operations, and sums of whole numbers; read off what really runs."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from archipel.engine.engine import Request
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.protocol import NonFiniteLogits
from archipel.engine.sampler import Draw
from archipel.model.config import EXACT_FAMILIES, Family
from archipel.model.directory import expected_shapes
from exact.exact_models import exact_engine, mixed_requests, replayer, sampled, world

MOVES = {
    "aten._to_copy", "aten.alias", "aten.arange", "aten.cat", "aten.chunk", "aten.contiguous", "aten.copy_",
    "aten.detach", "aten.detach_", "aten.empty", "aten.expand", "aten.fill_", "aten.flatten", "aten.gather",
    "aten.index", "aten.index_copy_", "aten.index_select", "aten.item", "aten.lift_fresh", "aten.narrow", "aten.ones",
    "aten.permute", "aten.repeat", "aten.repeat_interleave", "aten.reshape", "aten.resolve_conj", "aten.resolve_neg",
    "aten.select", "aten.slice", "aten.squeeze", "aten.stack", "aten.t", "aten.to", "aten.transpose", "aten.unbind",
    "aten.unflatten", "aten.unsqueeze", "aten.view", "aten.where", "aten.zeros",
}  # fmt: skip
"""Numbers go elsewhere, or become another type by one rounding."""
CHOICES = {
    "aten.__and__", "aten.__rshift__", "aten.abs", "aten.all", "aten.amax", "aten.amin", "aten.argmax", "aten.clamp_",
    "aten.clamp_min_", "aten.equal", "aten.fmax", "aten.fmin", "aten.is_nonzero", "aten.isfinite", "aten.max",
    "aten.nan_to_num_", "aten.neg", "aten.searchsorted",
}  # fmt: skip
"""One of the numbers is taken, or compared, or its bits or sign are."""
SINGLE = {
    "aten.add", "aten.add_", "aten.div", "aten.div_", "aten.floor_", "aten.frexp", "aten.mul", "aten.mul_",
    "aten.round_", "aten.rsub", "aten.sqrt_", "aten.square_", "aten.sub", "aten.sub_",
}  # fmt: skip
"""One IEEE operation for each element."""
SUMS = {"aten.bmm", "aten.cumsum_", "aten.mm", "aten.sum"}
"""Of whole numbers, whose order cannot matter."""
PROVEN = {
    "aten._make_per_tensor_quantized_tensor", "onednn.qlinear_pointwise", "onednn.qlinear_prepack",
    "quantized.linear_dynamic_fp16", "quantized.linear_prepack", "quantized.linear_prepack_fp16", "quantized.linear_with_input_q_dq_qweight_dq_output_fp32",
}  # fmt: skip
"""Backends that answered known vectors; they take bytes, or make them of whole numbers."""
ALLOWED = MOVES | CHOICES | SINGLE | SUMS | PROVEN


class Watch(TorchDispatchMode):
    """What breaks the law, of everything that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, kwargs = str(func.overloadpacket), dict(kwargs or {})
        self.seen.add(name)
        if name not in ALLOWED:
            self.broken.add(name)
        if kwargs.get("alpha", 1) != 1 or (name in SINGLE and len(args) > 2 and args[2] != 1):
            self.broken.add(f"{name} with a factor")
        if name in SUMS and not all(_whole(each) for each in args if isinstance(each, Tensor)):
            self.broken.add(f"{name} of numbers that are not whole")
        if name.startswith("aten.div") and not all(isinstance(each, Tensor) for each in args[:2]):
            self.broken.add(f"{name} with a plain number")
        if name.startswith("aten.sqrt") and args[0].dtype != torch.float64:
            self.broken.add(f"{name} in {args[0].dtype}")
        return func(*args, **kwargs)


def _whole(x: Tensor) -> bool:
    with torch.utils._python_dispatch._disable_current_modes():
        return not x.is_floating_point() or bool((x == x.round()).all())


def watched(family: Family, variant: str, compact: bool) -> Watch:
    """Everything that loading, reading, decoding and replaying does, over windows of several chunks."""
    config, state = world(family)
    requests = mixed_requests(64, (1, 9, 258))
    expected_shapes(config)  # made once, from a network that is filled and thrown away
    watch = Watch()
    with watch:
        recorded = sampled(exact_engine(config, state, variant, compact=compact), requests)
        replayer(config, state, variant, compact=compact).replay(recorded)
    return watch


@pytest.mark.parametrize(
    "family",
    [
        *EXACT_FAMILIES[::2],
        *(pytest.param(each, marks=pytest.mark.slow) for each in EXACT_FAMILIES[1::2]),
    ],
)
def test_nothing_but_single_operations_and_whole_sums_runs(family: Family) -> None:
    variant = {"llama": "w7a8", "qwen2": "w13a15", "qwen3": "w12a13", "olmo2": "w13a15"}[family]
    watch = watched(family, variant, compact=family == "qwen2")
    assert watch.broken == set()
    assert {"aten.bmm", "aten.cumsum_", "aten.sqrt_", "aten.index_select"} <= watch.seen


def _fused_rotation(numbers: ExactArithmetic, x: Tensor, rotations: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    swapped = torch.cat((second, first), -1)
    return torch.addcmul(x * rotations[:, :1], swapped, rotations[:, 1:])


def _scaled_rotation(numbers: ExactArithmetic, x: Tensor, rotations: Tensor) -> Tensor:
    return torch.add(x * rotations[:, :1], x, alpha=3)


def _norm_of_the_library(numbers: ExactArithmetic, x: Tensor) -> Tensor:
    return torch.rsqrt(x.square().mean(-1, keepdim=True))


def _sums_of_fractions(numbers: ExactArithmetic, x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True)


def _softmax(numbers: ExactArithmetic, logits: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    chances = torch.softmax(logits, -1)
    return chances.argmax(-1), chances.amax(-1).log()


def _reciprocal(numbers: ExactArithmetic, x: Tensor, norm: Tensor) -> Tensor:
    return (x * numbers.scales(x)).mul_(norm) / 3.0


def _fractions_mixed(
    numbers: ExactArithmetic, q: Tensor, seen: tuple[Tensor, ...], bias: Tensor
) -> Tensor:
    keys, _, values, _ = seen
    return torch.bmm(torch.bmm(q.to(keys.dtype), keys), values).float()


@pytest.mark.parametrize(
    ("part", "mutant", "word"),
    [
        ("rotated", _fused_rotation, "aten.addcmul"),
        ("rotated", _scaled_rotation, "aten.add with a factor"),
        ("scales", _norm_of_the_library, "aten.rsqrt"),
        ("scales", _sums_of_fractions, "aten.sum of numbers that are not whole"),
        ("sample", _softmax, "aten.softmax"),
        ("normed", _reciprocal, "aten.div with a plain number"),
        ("attend", _fractions_mixed, "aten.bmm of numbers that are not whole"),
    ],
)
def test_an_operation_that_breaks_the_law_is_seen(
    part: str, mutant: Callable[..., Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExactArithmetic, part, mutant)
    config, state = world("olmo2")
    watch = Watch()
    request = Request("a", (1, 2, 3), seed=1, num_rollouts=1, max_new_tokens=2)
    with watch, contextlib.suppress(NonFiniteLogits):
        exact_engine(config, state, "w7a8").generate([request])
    assert word in watch.broken
