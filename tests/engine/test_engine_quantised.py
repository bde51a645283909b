"""Weights in fewer bits: scales are right, rows keep their bits, and little of a trained model is lost."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archipel.engine.cache import CacheShape
from archipel.engine.decode import decode
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.fused import FusedDecoder
from archipel.engine.machinery import Machinery, assemble
from archipel.engine.passing import Next
from archipel.engine.projection import has_bf16_products
from archipel.engine.quantised import arithmetic, halves, int4, int8, integers
from archipel.engine.quantised.arithmetic import WEIGHTS, NotHeld, Weights, arithmetic_for
from archipel.engine.quantised.epilogues import silu
from archipel.engine.quantised.halves import HalfProjection
from archipel.engine.quantised.int4 import Int4Projection
from archipel.engine.quantised.int8 import Int8Projection
from archipel.engine.quantised.rows import cut
from archipel.engine.selftest import self_test
from archipel.model.config import DecoderConfig
from archipel.model.network import causal_attention, random_weights
from engine.engine_models import lively_state, small_config

needs_halves = pytest.mark.skipif(not halves.can_halve(), reason="torch has no such product here")
HELD = [
    pytest.param(HalfProjection, id="16 bits", marks=needs_halves),
    pytest.param(Int8Projection, id="8 bits"),
    pytest.param(Int4Projection, id="4 bits"),
]
Make = Callable[[Tensor, Tensor | None], Int8Projection]

ROUNDED, LOST = (2e-5, 1e-4) if has_bf16_products() else (1e-5, 1e-6)
"""Nats, of bf16: where the processor multiplies bf16 itself, activations are rounded as well."""


def test_a_weight_in_8_bits_is_its_largest_over_127() -> None:
    weight = torch.tensor([[0.5, -1.27, 0.006], [0.0, 0.0, 0.0], [2.54, 0.05, -0.03]])
    q, scale = int8.quantise(weight)
    assert q.tolist() == [[50, -127, 1], [0, 0, 0], [127, 2, -2]]
    np.testing.assert_allclose(scale, [0.01, 0.0, 0.02], rtol=1e-6)


@pytest.mark.parametrize("has_library", [True, False], ids=["fbgemm", "plain"])
def test_a_product_in_8_bits_is_the_sum_of_the_integers(
    has_library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_library and not integers.proven():
        pytest.skip("torch has no such product here")
    monkeypatch.setattr(integers, "proven", lambda: has_library)
    torch.manual_seed(0)
    weight, x = torch.randn(40, 300), torch.randn(5, 300) * 3
    x[1, 7], x[2] = 80.0, 0.0  # one that stands out, and a row of nothing
    q, scale = int8.quantise(weight)
    largest = np.abs(x.numpy()).max(1, keepdims=True).astype(np.float64)
    ours = Int8Projection(weight)(x).double().numpy()
    whole = np.round(x.double().numpy() / np.where(largest, largest, 1.0) * 8064)
    expected = (whole @ q.double().numpy().T) * scale.double().numpy() * largest / 8064
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3 * float(scale.max()))
    assert not ours[2].any()


def test_digits_are_never_larger_than_the_products_of_bytes_allow() -> None:
    x = torch.cat([torch.linspace(-1, 1, 40_001), torch.randn(40_001)]).view(2, -1)
    rows = cut(x.numpy(), np.full((2, 1), 0.5, np.float32))
    high, low = rows.digits.view(2, 2, -1)
    assert float(rows.digits.abs().max()) <= integers.DIGIT
    assert torch.equal(rows.digits, rows.digits.round())
    restored = (high * 128 + low) * torch.from_numpy(rows.scale)
    assert float((restored - x / 2).abs().max()) <= 0.51 * float(rows.scale.max())
    assert torch.equal(rows.floats, x * 0.5)


def test_a_group_in_4_bits_reaches_from_its_smallest_to_its_largest() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 64) + torch.linspace(-3, 3, 16)[:, None]
    q, scale, zero = int4.quantise(weight)
    assert q.min() >= 0
    assert q.max() <= 15
    steps = scale.float().repeat_interleave(32, 1)
    off = (int4.restored(q, scale, zero) - weight).abs()
    assert bool((off <= 0.56 * steps + weight.abs() / 100).all())
    x = torch.randn(6, 64)
    close = F.linear(x.bfloat16().float(), int4.restored(q, scale, zero))
    torch.testing.assert_close(Int4Projection(weight)(x), close, rtol=0.01, atol=0.05)


@needs_halves
def test_bf16_numbers_are_kept_exactly_in_fp16() -> None:
    torch.manual_seed(0)
    weight = (torch.randn(32, 48) * torch.logspace(-6, 0, 48)).bfloat16()
    assert not torch.equal(weight.half().float(), weight.float())  # without a factor they are not
    bias, x = torch.randn(32), torch.eye(48)
    ours = HalfProjection(weight, None)(x)
    assert torch.equal(ours, weight.float().t())
    torch.testing.assert_close(
        HalfProjection(weight, bias)(x), weight.float().t() + bias, rtol=1e-6, atol=1e-7
    )
    assert torch.equal(HalfProjection(torch.zeros(4, 8))(torch.ones(1, 8)), torch.zeros(1, 4))


@pytest.mark.parametrize("make", HELD)
@pytest.mark.parametrize("has_bias", [False, True])
def test_rows_do_not_change_with_the_batch(make: Make, has_bias: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 160), torch.randn(48) if has_bias else None
    product, x, other = make(weight, bias), torch.randn(140, 160), torch.randn(140, 48)
    x[5] *= 100

    def everything(rows: int) -> Tensor:
        few, beside = x[:rows], other[:rows]
        parts = [product(few), product.silu(few), product.plus(few, beside)]
        return torch.cat([*parts, product.times(few, beside)]).view(4, rows, -1)

    with torch.inference_mode():
        full = everything(140)
        for rows in (*range(1, 18), 31, 32, 37, 64, 127, 128):
            assert torch.equal(everything(rows), full[:, :rows]), rows
        exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        off = (full[0] - exact).norm() / exact.norm()
        assert off < {HalfProjection: 3e-3, Int8Projection: 1e-2}.get(make, 0.1)


@pytest.mark.parametrize("width", [96, 100, 1536, 33_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_silu_rounds_a_number_alike_wherever_it_lies(width: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    whole = torch.randn(70, 2 * width) * 4
    apart = whole.narrow(1, width, width)
    full = silu(apart)
    for first, rows in ((0, 1), (3, 2), (5, 24), (1, 69)):
        some = apart[first : first + rows]
        assert torch.equal(silu(some), full[first : first + rows])
        assert torch.equal(silu(some.contiguous()), full[first : first + rows])
    torch.testing.assert_close(full, F.silu(apart))
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", HELD)
def test_a_gate_beside_its_up_is_what_both_are_apart(make: Make) -> None:
    torch.manual_seed(0)
    gate, up, x = torch.randn(64, 160), torch.randn(64, 160), torch.randn(5, 160)
    both = make(torch.cat((gate, up)), None).glu(x)
    apart = make(up, None).times(x, make(gate, None).silu(x))
    torch.testing.assert_close(both, apart, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_rows_that_nobody_wants_leave_nothing_in_the_cache(weights: Weights, kv_heads: int) -> None:
    config = small_config(num_kv_heads=kv_heads, num_layers=1)
    numbers = arithmetic_for(weights, config)
    decoder = FusedDecoder(config, lively_state(config), numbers)
    shape = CacheShape(1, 8, kv_heads, numbers.planes, 64)
    fresh = [assemble(decoder, decoder.new_cache(shape), 64) for _ in range(3)]
    tokens = torch.tensor([5, 9, 9, 9, 9, 9, 9, 9])

    def fed(machinery: Machinery, rows: int, wanted: int | None, *, apart: bool) -> Tensor:
        at = torch.full((rows,), 3)
        return decode(machinery, tokens[:rows], Next(at, at if apart else 3), wanted=wanted)[0]

    with torch.inference_mode():
        rows = fresh[0].min_rows
        one, same, all_seen = (
            fed(fresh[0], rows, 1, apart=False),
            fed(fresh[1], rows, 1, apart=True),
            fed(fresh[2], 8, None, apart=True),
        )
    assert rows >= fresh[0].min_attended
    assert torch.equal(one, same)
    assert torch.equal(one, all_seen)
    for machinery in fresh[:2]:
        for kept in machinery.cache.layers[0]:
            assert kept[0].any()
            assert not kept[fresh[0].min_attended :].any()


@pytest.mark.parametrize(
    "weights", ["bfloat16", "int8", pytest.param("int4", marks=pytest.mark.slow)]
)
def test_an_engine_with_such_weights_does_not_depend_on_company(weights: Weights) -> None:
    config = small_config(num_layers=1)
    engine = LocalEngine(config, arithmetic=arithmetic_for(weights, config))
    engine.load(lively_state(config))
    report = self_test(engine, config.vocab_size, 256)
    assert report.batch_invariant
    assert report.num_completions > 10


@pytest.mark.parametrize(
    "family", ["qwen2", pytest.param("olmo2", marks=pytest.mark.slow), "granite", "olmoe"]
)
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_every_form_of_network_is_close_to_the_full_one(family: str, weights: Weights) -> None:
    """Biases, norms behind, factors and experts."""
    config = small_config(family)  # type: ignore[arg-type]
    state = lively_state(config)
    engine = LocalEngine(config, arithmetic=arithmetic_for(weights, config))
    engine.load(state)
    prompt = tuple(range(3, 23))
    scores = _distribution(engine, prompt)
    full = LocalEngine(config)
    full.load(state)
    expected = _distribution(full, prompt)
    assert _divergence(expected, scores) < (0.02 if weights == "int8" else ROUNDED)


@pytest.fixture(scope="module")
def trained() -> tuple[DecoderConfig, dict[str, Tensor]]:
    """A small model that has learnt to count in steps, its weights in bf16."""
    config = small_config()
    torch.manual_seed(0)
    model = random_weights(config, 0)
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(40):
        rows = _counting(torch.randint(64, (8, 1)), torch.randint(1, 5, (8, 1)), 25)
        hidden = model(rows[:, :-1], torch.arange(24)[None], causal_attention)
        logits = model.logits(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return config, {name: each.detach().bfloat16() for name, each in model.state_dict().items()}


@pytest.mark.parametrize(("weights", "bound"), [("bfloat16", LOST), ("int8", 2e-3), ("int4", 0.05)])
def test_little_of_a_trained_model_is_lost(
    trained: tuple[DecoderConfig, dict[str, Tensor]], weights: Weights, bound: float
) -> None:
    config, state = trained
    full, fewer = (
        LocalEngine(config),
        LocalEngine(config, arithmetic=arithmetic_for(weights, config)),
    )
    full.load(state)
    fewer.load(state)
    lost, same = 0.0, 0
    for start in range(16):
        prompt = tuple(
            _counting(torch.tensor([[start]]), torch.tensor([[1 + start % 4]]), 12)[0].tolist()
        )
        one, other = _distribution(full, prompt), _distribution(fewer, prompt)
        lost += _divergence(one, other) / 16
        same += int(one.argmax() == other.argmax())
    assert lost < bound
    assert same >= 15
    greedy = Request(
        key="a",
        prompt=(3, 5, 7, 9, 11, 13),
        seed=1,
        num_rollouts=1,
        max_new_tokens=8,
        temperature=0.0,
    )
    assert full.generate([greedy])[0][0].tokens == fewer.generate([greedy])[0][0].tokens


def test_another_device_is_refused_by_name() -> None:
    for weights in ("int8", "int4"):
        with pytest.raises(NotHeld, match="the processor alone, and the device is cuda"):
            arithmetic_for(weights, small_config(), torch.device("cuda"))  # type: ignore[arg-type]


def test_without_the_library_two_bytes_are_bf16s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "can_halve", lambda: False)
    assert arithmetic_for("bfloat16", small_config()).dtype == torch.bfloat16
    assert [arithmetic_for(each, small_config()).config for each in WEIGHTS]


def _counting(first: Tensor, step: Tensor, length: int) -> Tensor:
    return (first + step * torch.arange(length)) % 64


def _distribution(engine: LocalEngine, prompt: tuple[int, ...]) -> Tensor:
    """Log-probabilities (64,) of what follows."""
    return torch.tensor(
        [each[0] for each in engine.score(prompt, [(token,) for token in range(64)])]
    )


def _divergence(one: Tensor, other: Tensor) -> float:
    return float((one.exp() * (one - other)).sum())
