"""The fast products give the textbook values and gradients."""

import pytest
import torch
from torch.nn import functional as F

from archipel.training import products
from archipel.training.products import FastLinear

torch.set_num_threads(1)


def run(x, weight, bias, upstream):
    leaves = [leaf.clone().requires_grad_() for leaf in (x, weight)]
    leaves += [] if bias is None else [bias.clone().requires_grad_()]
    y = F.linear(*leaves)
    return y.detach(), *torch.autograd.grad((y * upstream).sum(), leaves)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(130,), (3, 50), (2, 5, 40), (4, 2)])
def test_values_and_gradients_equal_float64(shape, with_bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 24, generator=generator)
    weight = torch.randn(17, 24, generator=generator)
    bias = torch.randn(17, generator=generator) if with_bias else None
    upstream = torch.randn(*shape, 17, generator=generator)
    wide = [None if part is None else part.double() for part in (x, weight, bias, upstream)]
    expected = run(*wide)
    with FastLinear():
        found = run(x, weight, bias, upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


def test_the_fast_way_is_taken_where_it_exists_and_only_there(monkeypatch):
    taken = []
    product = products._product
    monkeypatch.setattr(products, "_product", lambda *a: taken.append(1) or product(*a))
    weight = torch.randn(4, 8)
    with FastLinear():
        for x in (torch.randn(200, 8), torch.randn(2, 8), torch.randn(200, 8).double()):
            F.linear(x, weight.to(x.dtype))
    assert len(taken) == int(products.has_onednn())


def test_the_same_inputs_give_the_same_bits():
    x, weight = torch.randn(300, 64), torch.randn(32, 64)
    upstream = torch.randn(300, 32)
    with FastLinear():
        first, again = run(x, weight, None, upstream), run(x.clone(), weight, None, upstream)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
