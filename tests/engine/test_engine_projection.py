"""A product's rows keep their bits whichever library and batch computes them."""

import pytest
import torch
from torch.nn import functional as F

from archipel.engine import projection
from archipel.engine.engine import LocalEngine
from archipel.engine.projection import FEW_ROWS, Projection, can_prepack, has_bf16_products
from archipel.engine.selftest import self_test
from engine.engine_models import lively_state, small_config


@pytest.mark.parametrize(
    ("dtype", "bf16_products"),
    [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, False)],
    ids=["fp32", "bf16", "bf16 without bf16 products"],
)
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (128, 384), (192, 64), (352, 128)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_rows_do_not_change_with_the_batch(
    inputs: int, outputs: int, has_bias: bool, dtype: torch.dtype, bf16_products: bool | None
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)
    product = Projection(weight, bias if has_bias else None, bf16_products)
    x, other = torch.randn(65, inputs).to(dtype), torch.randn(65, outputs).to(dtype)

    def everything(rows: int) -> torch.Tensor:
        few, beside = x[:rows], other[:rows]
        return torch.cat(
            [product(few), product.silu(few), product.plus(few, beside), product.times(few, beside)]
        ).view(4, rows, -1)

    with torch.inference_mode():
        full = everything(65)
        assert full.dtype == dtype
        for rows in (4, FEW_ROWS, FEW_ROWS + 1, 17, 64):
            assert torch.equal(everything(rows), full[:, :rows])


@pytest.mark.parametrize("rows", [1, 5, 20])
@pytest.mark.parametrize("is_plain", [False, True], ids=["this machine", "a plain one"])
def test_epilogues_are_what_they_are_called(
    rows: int, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_plain:
        monkeypatch.setattr(projection, "can_prepack", lambda device: False)
    torch.manual_seed(0)
    weight, bias, x = torch.randn(9, 30), torch.randn(9), torch.randn(rows, 30)
    product, other, y = Projection(weight, bias), torch.randn(rows, 9), F.linear(x, weight, bias)
    with torch.inference_mode():
        torch.testing.assert_close(product(x), y)
        torch.testing.assert_close(product.silu(x), F.silu(y))
        torch.testing.assert_close(product.plus(x, other), y + other)
        torch.testing.assert_close(product.times(x, other), y * other)


needs_prepacking = pytest.mark.skipif(
    not can_prepack(torch.device("cpu")), reason="torch has no prepacked products here"
)


@needs_prepacking
def test_the_probe_says_whether_a_bf16_weight_can_be_packed() -> None:
    weight = torch.randn(16, 16).bfloat16()
    if has_bf16_products():
        torch.ops.mkldnn._reorder_linear_weight(weight, None)
    else:
        with pytest.raises(RuntimeError, match="bf16"):
            torch.ops.mkldnn._reorder_linear_weight(weight, None)


@needs_prepacking
@pytest.mark.parametrize("rows", [4, 20], ids=["few rows", "many rows"])
@pytest.mark.parametrize("inputs", [64, 352])
def test_without_bf16_products_a_result_is_rounded_once_after_its_epilogue(
    inputs: int, rows: int
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, inputs).bfloat16(), torch.randn(48).bfloat16()
    x, product = torch.randn(rows, inputs).bfloat16(), Projection(weight, bias, bf16_products=False)
    exact = F.linear(x.double(), weight.double(), bias.double())
    with torch.inference_mode():
        y = product(x)
        near = {"rtol": 2.0**-8, "atol": 1e-4}
        torch.testing.assert_close(y.double(), exact, **near)
        torch.testing.assert_close(product.silu(x).double(), F.silu(exact), **near)
        torch.testing.assert_close(product.times(x, y).double(), exact * y.double(), **near)
        # Rounding before the sum would leave nothing of it.
        torch.testing.assert_close(product.plus(x, -y).double(), exact - y.double(), **near)


def test_an_engine_without_bf16_products_is_batch_invariant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection, "has_bf16_products", lambda: False)
    config = small_config("qwen3", hidden_size=256)
    engine = LocalEngine(config, dtype=torch.bfloat16)
    engine.load(lively_state(config))
    assert self_test(engine, config.vocab_size, config.max_position_embeddings).batch_invariant
