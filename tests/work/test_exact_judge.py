"""The exact judge finds who helps a real network, with the same integers wherever it is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.network import causal_attention
from archipel.training.exchange import CodecTerms, codec_of
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.commitment import GateText
from archipel.training.merging.contributions import Contribution
from archipel.training.merging.loss_gate import GateTerms, Unmeasurable
from archipel.training.merging.merge import merge
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms
from archipel.work.exact_judge import exact_judge, exact_loss
from engine.engine_models import decoder_of
from exact.exact_models import world

DENSE = CodecTerms("float32")
TERMS = MergeTerms(DENSE, OuterTerms("sgd", 1.0), gate=GateTerms())
VARIANT = "w13a15"


def texts(seed: int, count: int = 6) -> np.ndarray:
    """(count, 13): arithmetic progressions, which a small network learns at once."""
    rng = np.random.default_rng(seed)
    begins, steps = rng.integers(0, 64, (2, count, 1))
    return (begins + (steps % 3 + 1) * np.arange(13)) % 64


def loss_of(model: torch.nn.Module, windows: np.ndarray) -> torch.Tensor:
    tokens = torch.from_numpy(windows)
    places = torch.arange(12).expand(len(windows), 12)
    logits = model.logits(model(tokens[:, :-1], places, causal_attention))  # type: ignore[operator]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def trained(config: DecoderConfig, base: Tensors, windows: np.ndarray) -> dict[str, np.ndarray]:
    """A pseudo-gradient: six plain steps on these texts."""
    model = decoder_of(config, {name: torch.from_numpy(each) for name, each in base.items()})
    for _ in range(6):
        model.zero_grad()
        loss_of(model, windows).backward()
        with torch.no_grad():
            for each in model.parameters():
                each -= 0.3 * each.grad
    after = model.state_dict()
    return {name: each - after[name].numpy() for name, each in base.items()}


@pytest.fixture(scope="module")
def setting() -> tuple[DecoderConfig, dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    config, state = world("qwen3")
    base = {name: each.float().numpy() for name, each in state.items()}
    return config, base, [trained(config, base, texts(1 + at)) for at in range(4)]


def contribution(index: int, values: Tensors) -> Contribution:
    return Contribution(f"m{index}", index, codec_of(DENSE).encode(values), tokens=72, steps=6)


def test_who_trained_is_merged_and_who_points_back_or_makes_noise_is_not(setting) -> None:  # type: ignore[no-untyped-def]
    config, base, deltas = setting
    text = GateText(bytes(32), texts(99, 12)[[3, 9, 5, 4, 1, 11, 2, 0]])
    back = {name: -each for name, each in deltas[0].items()}
    rng = np.random.default_rng(0)
    noise = {
        name: (rng.standard_normal(each.shape) * each.std()).astype(np.float32)
        for name, each in deltas[0].items()
    }
    sent = [contribution(at, each) for at, each in enumerate([*deltas, back, noise])]
    judge = exact_judge(config, text, VARIANT, lambda each: texts(1 + each.index).tolist())
    merged = merge(base, {}, sent, TERMS, judge)
    assert [each.reason for each in merged.verdicts] == [*[None] * 4, "loss", "loss"]
    assert all((each.own_score or 0) > 0 for each in merged.verdicts[:4])
    assert judge.held_out(merged.weights) < judge.held_out(base)


def test_a_loss_is_near_that_of_floats_and_a_score_too(setting) -> None:  # type: ignore[no-untyped-def]
    config, base, deltas = setting
    windows = texts(50)
    after = {name: each - deltas[0][name] for name, each in base.items()}

    def both(weights: Tensors) -> tuple[float, float]:
        model = decoder_of(config, {name: torch.from_numpy(each) for name, each in weights.items()})
        with torch.no_grad():
            floats = float(loss_of(model, windows)) * 12 * len(windows)
        return exact_loss(config, weights, windows.tolist(), VARIANT) / 2**20, floats

    (exact, floats), (exact_after, floats_after) = both(base), both(after)
    assert exact == pytest.approx(floats, rel=2e-3)
    assert exact - exact_after == pytest.approx(floats - floats_after, rel=2e-2)


def test_weights_are_judged_as_bf16(setting) -> None:  # type: ignore[no-untyped-def]
    config, base, _ = setting
    windows = texts(50, 2).tolist()
    nudged = {name: each * np.float32(1 + 2**-11) for name, each in base.items()}
    assert exact_loss(config, nudged, windows, "w7a8") == exact_loss(config, base, windows, "w7a8")
    turned = {name: np.asfortranarray(each) for name, each in base.items()}
    assert exact_loss(config, turned, windows, "w7a8") == exact_loss(config, base, windows, "w7a8")


def test_what_breaks_the_network_has_no_loss_and_is_refused(setting) -> None:  # type: ignore[no-untyped-def]
    config, base, deltas = setting
    for huge in (3.4e38, 3e38):
        broken = {name: np.full_like(each, huge) for name, each in base.items()}
        with pytest.raises(Unmeasurable):
            exact_loss(config, broken, texts(1).tolist(), "w7a8")
    text = GateText(bytes(32), texts(50, 2))
    loud = {name: np.full_like(each, 2.0**40) for name, each in base.items()}
    sent = [contribution(0, deltas[0]), contribution(1, deltas[1]), contribution(2, loud)]
    found = merge(
        base, {}, sent, replace(TERMS, length_bound=1e6), exact_judge(config, text, "w7a8")
    )
    assert [each.merged for each in found.verdicts] == [True, True, False]
