"""Numbers in a byte: how near, how stable, and AdamW with them held against AdamW."""

import pytest
import torch

from archipel.training.blockwise import Quantised, block_of, dequantise, quantise
from archipel.training.eight_bit import EightBitMoments, is_fit, kept_of

torch.set_num_threads(1)


def numbers(signed: bool, columns: int = 96) -> torch.Tensor:
    """Over twelve powers of ten, zeros among them."""
    drawn = torch.randn(64, columns, generator=torch.Generator().manual_seed(5))
    drawn *= torch.logspace(-12, 0, 64).unsqueeze(1) * torch.logspace(-3, 0, columns)
    drawn[::7, ::3] = 0.0
    drawn[9] = 0.0
    return drawn if signed else drawn.square()


@pytest.mark.parametrize("signed", [True, False])
def test_what_was_read_and_is_written_again_is_the_same(signed: bool) -> None:
    first = quantise(numbers(signed), 96, signed=signed)
    again = quantise(dequantise(first, 96, signed=signed), 96, signed=signed)
    assert torch.equal(first.codes, again.codes)
    assert torch.equal(first.scales, again.scales)


@pytest.mark.parametrize("signed", [True, False])
def test_every_number_is_near_zeros_are_zeros_and_extremes_are_exact(signed: bool) -> None:
    plain = numbers(signed)
    found = dequantise(quantise(plain.clone(), 96, signed=signed), 96, signed=signed)
    largest = plain.abs().amax(1, keepdim=True)
    is_large = (plain.abs() >= 0.1 * largest) & (largest > 0)
    assert float(((found - plain).abs() / largest)[is_large].max()) < 0.011
    assert torch.equal(found[plain == 0], torch.zeros_like(found[plain == 0]))
    assert torch.equal(found.abs().amax(1, keepdim=True), largest)
    middling = (plain.abs() >= 1e-3 * largest) & (largest > 0)
    assert float(((found - plain).abs() / plain.abs())[middling].max()) < (0.29 if signed else 0.15)


def test_a_square_that_is_not_zero_never_becomes_zero() -> None:
    plain = torch.tensor([[1.0, 1e-9, 1e-20, 1e-30, 0.0, 0.0, 0.0, 0.0]])
    found = dequantise(quantise(plain.clone(), 8, signed=False), 8, signed=False)
    assert (found[0, :4] > 0).all()
    assert (found[0, 4:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((7, 512), 256),
        ((3, 576), 192),
        ((5, 16), 16),
        ((2, 1408), 176),
        ((9, 257), None),
        ((64,), None),
    ],
)
def test_blocks_divide_rows_and_are_no_smaller_than_is_worth_it(
    shape: tuple[int, ...], block: int | None
) -> None:
    assert block_of(shape) == block
    assert is_fit(shape) == (block is not None)


def test_blocks_of_one_row_do_not_know_the_other_rows() -> None:
    plain = numbers(signed=True)
    whole = quantise(plain.clone(), 96, signed=True)
    part = quantise(plain[10:20].clone(), 96, signed=True)
    assert torch.equal(whole.codes[10:20], part.codes)
    assert torch.equal(whole.scales[10:20], part.scales)


def test_steps_are_those_of_adamw_up_to_the_rounding_of_moments() -> None:
    chance = torch.Generator().manual_seed(2)
    plain = torch.randn(40, 64, generator=chance).requires_grad_()
    start = plain.detach().clone()
    narrow = start.clone()
    theirs = torch.optim.AdamW([plain], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    ours = EightBitMoments({"x": narrow}, (0.9, 0.99), 1e-8)
    for number in range(1, 41):
        gradient = torch.randn(40, 64, generator=chance) * torch.logspace(-2, 1, 64)
        plain.grad, narrow.grad = gradient.clone(), gradient
        theirs.step()
        ours.step(number, 1e-2, 0.1)
        if number == 1:
            torch.testing.assert_close(narrow, plain.detach(), rtol=1e-5, atol=1e-6)
    moved = plain.detach() - start
    assert float((narrow - plain.detach()).norm()) < 0.09 * float(moved.norm())


def test_rows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped() -> dict[str, torch.Tensor]:
        master = torch.linspace(-1, 1, 40 * 16).reshape(40, 16).clone()
        moments = EightBitMoments({"x": master}, (0.9, 0.99), 1e-8)
        for number in range(1, 4):
            master.grad = (master * number).sin()
            moments.step(number, 1e-2, 0.0)
        return {"master": master, **moments.of("x")}

    whole = stepped()
    monkeypatch.setattr("archipel.training.eight_bit.MAX_NUMBERS", 48)
    assert all(torch.equal(each, stepped()[name]) for name, each in whole.items())


def test_nothing_is_a_byte_each_and_a_scale_to_a_block() -> None:
    moments = EightBitMoments({"x": torch.zeros(8, 512)}, (0.9, 0.99), 1e-8)
    kept = moments.of("x")
    assert sum(each.nbytes for each in kept.values()) == 2 * (8 * 512 + 4 * 8 * 2)
    zero = Quantised(kept["exp_avg_codes"], kept["exp_avg_scales"])
    assert not dequantise(zero, 256, signed=True).any()
    for moment, signed in (("exp_avg", True), ("exp_avg_root", False)):
        written = quantise(torch.zeros(8, 512), 256, signed=signed)
        assert torch.equal(kept[f"{moment}_codes"], written.codes), "as zeros are written"
    with pytest.raises(ValueError, match="no blocks"):
        kept_of((9,))


@pytest.mark.parametrize("signed", [True, False])
def test_no_other_value_is_nearer_than_the_one_that_is_taken(signed: bool) -> None:
    """But for the bits of a number that are not looked at."""
    codes = torch.arange(256 if not signed else 255, dtype=torch.uint8)
    one = Quantised(codes.view(1, -1), torch.ones(1, 1))
    values_V = dequantise(one, len(codes), signed=signed)[0].double()
    halfway = (values_V[1:] + values_V[:-1])[0 if signed else 1 :] / 2  # nothing positive is zero
    beside = torch.cat([halfway * (1 + part) for part in (-2e-3, -1.2e-3, 1.2e-3, 2e-3)]).clamp(
        max=1
    )
    plain = torch.cat((beside, torch.ones(4, dtype=torch.float64))).float().view(1, -1)
    found = dequantise(
        quantise(plain.clone(), plain.shape[1], signed=signed), plain.shape[1], signed=signed
    )
    gap = (plain.double().view(-1, 1) - values_V).abs()
    excess = (plain - found).abs().double()[0] - gap.amin(1)
    assert float((excess / plain[0].abs()).max()) < 1e-7
