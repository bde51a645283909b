"""A product's rows keep their bits whichever library and batch computes them."""

import pytest
import torch
from torch.nn import functional as F

from archipel.engine.projection import FEW_ROWS, Projection


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (128, 384), (192, 64), (352, 128)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_rows_do_not_change_with_the_batch(
    inputs: int, outputs: int, has_bias: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)
    product = Projection(weight, bias if has_bias else None)
    x, other = torch.randn(65, inputs).to(dtype), torch.randn(65, outputs).to(dtype)

    def everything(rows: int) -> torch.Tensor:
        few, beside = x[:rows], other[:rows]
        return torch.cat(
            [product(few), product.silu(few), product.plus(few, beside), product.times(few, beside)]
        ).view(4, rows, -1)

    with torch.inference_mode():
        full = everything(65)
        for rows in (4, FEW_ROWS, FEW_ROWS + 1, 17, 64):
            assert torch.equal(everything(rows), full[:, :rows])


def test_epilogues_are_what_they_are_called() -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(9, 30), torch.randn(9), torch.randn(20, 30)
    product, other, y = Projection(weight, bias), torch.randn(20, 9), F.linear(x, weight, bias)
    with torch.inference_mode():
        torch.testing.assert_close(product(x), y)
        torch.testing.assert_close(product.silu(x), F.silu(y))
        torch.testing.assert_close(product.plus(x, other), y + other)
        torch.testing.assert_close(product.times(x, other), y * other)
