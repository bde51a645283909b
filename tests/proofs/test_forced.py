from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.replay import Recorded
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import Decoder
from archipel.proofs.calibration import Model, TooThin, calibrate
from archipel.proofs.citing import measures_of
from archipel.proofs.forced import BadClaim, Forcing, statistics
from archipel.proofs.plan import Plan
from archipel.proofs.printed import printed
from archipel.proofs.provers import Setting, answer, rounded
from archipel.proofs.record import BadCalibration, Calibration
from archipel.records.cuts import Cut
from archipel.records.requests import Allowed
from archipel.records.rollouts import Rollout

CONFIG = DecoderConfig(
    family="qwen3",
    vocab_size=96,
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    intermediate_size=64,
    max_position_embeddings=64,
)
ASKED = Request(
    key="g", prompt=(5, 6, 7), seed=77, num_rollouts=4, max_new_tokens=24, temperature=0.7
)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(3)
    made = Decoder(CONFIG)
    with torch.no_grad():
        for value in made.parameters():
            # Wide enough that some tokens are likely.
            value.copy_((value if value.ndim == 1 else torch.randn_like(value) * 0.3).bfloat16())
    return made


def sampled(decoder: Decoder, request: Request, slots: int = 8) -> Recorded:
    engine = LocalEngine(CONFIG, limits=EngineLimits(max_slots=slots))
    engine.load(decoder.state_dict())
    return Recorded(request, dict(enumerate(engine.generate([request])[0])))


@pytest.mark.parametrize(
    "request_",
    [
        ASKED,
        replace(ASKED, temperature=0.0),
        replace(ASKED, cut=Cut(top_k=20)),
        replace(ASKED, allowed=Allowed(frozenset(range(0, 96, 3)))),
    ],
    ids=["plain", "greedy", "cut", "allowed"],
)
def test_an_honest_answer_is_what_the_noise_selects(decoder: Decoder, request_: Request) -> None:
    found = statistics(Forcing(decoder).check(sampled(decoder, request_)))
    assert found.tokens == 4 * 24
    assert found.excess_largest < 1e-5
    assert found.logprob_largest < 1e-4


def test_the_batch_of_the_verifier_changes_nothing_that_counts(decoder: Decoder) -> None:
    recorded = sampled(decoder, ASKED, slots=1)
    alone, together = Forcing(decoder, 1).check(recorded), Forcing(decoder).check(recorded)
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one.differences, other.differences, atol=1e-5)
    assert statistics(alone).excess_largest < 1e-5


def test_each_cheat_shows(decoder: Decoder) -> None:
    forcing, state = Forcing(decoder), decoder.state_dict()
    setting = Setting(torch.float32, 8, 1)
    own = next(answer(CONFIG, state, [ASKED], setting))
    honest = forcing.check(own)
    assert printed([own], honest).exponents < 0.05
    for cheat, weights in (
        ("noise", state),
        ("temperature", state),
        ("int4", rounded(state, 4)),
    ):
        found = next(answer(CONFIG, weights, [ASKED], setting, cheat))
        seen = statistics(forcing.check(found))
        assert seen.excess_mean > 100 * max(1e-6, statistics(honest).excess_mean), cheat


@pytest.mark.parametrize("share", [1.02, 0.98])
def test_another_temperature_is_told_by_how_much(decoder: Decoder, share: float) -> None:
    """Even of bf16, whose rounding hides it in every single log-probability."""
    engine = LocalEngine(CONFIG, torch.bfloat16)
    engine.load(decoder.state_dict())
    warmer = replace(ASKED, temperature=ASKED.temperature * share)
    claimed = [
        Recorded(ASKED, dict(enumerate(engine.generate([asked])[0]))) for asked in (ASKED, warmer)
    ]
    own, other = (statistics(Forcing(decoder).check(each)).temperature for each in claimed)
    assert own < 0.005
    assert abs(other - 0.02) < 0.005


def test_another_rollout_s_noise_or_an_edited_token_is_seen(decoder: Decoder) -> None:
    recorded = sampled(decoder, ASKED)
    swapped = Recorded(ASKED, {0: recorded.rollouts[1]})
    assert statistics(Forcing(decoder).check(swapped)).flips > 0.3
    first = recorded.rollouts[0]
    place = next(at for at, token in enumerate(first.tokens) if 5 < token < 90 and at > 3)
    for other in (0, 95):  # below what the noise selects, and above
        tokens = (*first.tokens[:place], other, *first.tokens[place + 1 :])
        edited = Forcing(decoder).check(Recorded(ASKED, {0: replace(first, tokens=tokens)}))
        assert edited[0].excess[place] > 0
        assert not (edited[0].excess[:place] > 1e-5).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": ()},
        {"tokens": (96, 1), "logprobs": (0.0, 0.0)},
        {"tokens": (1, 2), "logprobs": (0.0,)},
        {"tokens": (1,), "logprobs": (float("nan"),)},
        {"tokens": (1,) * 25, "logprobs": (0.0,) * 25},
    ],
)
def test_what_cannot_have_been_sampled_is_refused(decoder: Decoder, wrong: dict) -> None:
    claimed = replace(Rollout((1,), (0.0,), finished=True), **wrong)
    with pytest.raises(BadClaim):
        Forcing(decoder).check(Recorded(ASKED, {0: claimed}))


@pytest.mark.slow
def test_answers_of_the_transformers_engine_are_calibrated_against_our_network(
    decoder: Decoder, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    write_model(tmp_path / "model", decoder.state_dict(), CONFIG, None)
    plan = Plan(dtypes=("fp32",), slots=(1,), threads=(1,), groups=4, max_new_tokens=12)
    model = Model(CONFIG, decoder.state_dict(), [(5, 6, 7), (9, 8)], network=tmp_path / "model")
    (pair,) = calibrate(model, plan, lambda words: None)
    assert (pair.prover, pair.verifier, pair.usable) == ("transformers-fp32", "fp32", True)
    record = Calibration(
        model="sha256:" + "0" * 64, machine="x", made="now", confidence=0.95, plan={}, pairs=(pair,)
    )  # fmt: skip
    assert measures_of(record.to_bytes(), "transformers-fp32-cpu", 0.01, fingerprints=True)
    with pytest.raises(BadCalibration, match="no pair of prover fp32"):
        measures_of(record.to_bytes(), "archipel-fp32-cpu", 0.01)


def test_calibration_sets_thresholds_where_cheats_are_apart(decoder: Decoder) -> None:
    plan = Plan(dtypes=("fp32",), slots=(8,), threads=(1,), groups=4, max_new_tokens=12)
    model = Model(CONFIG, decoder.state_dict(), [(5, 6, 7), (9, 8)])
    (pair,) = calibrate(model, plan, lambda words: None)
    assert pair.usable, pair
    assert {name: each.caught for name, each in pair.cheats.items()} == dict.fromkeys(
        ("older", "int8", "int4", "temperature", "noise"), 4
    )
    with pytest.raises(TooThin):
        list(calibrate(model, replace(plan, rollouts=1, max_new_tokens=2), lambda words: None))
