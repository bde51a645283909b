"""Answers of our own float engine, measured by the limits of a calibration of the same model: who passes, who does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from archipel.bench.cheats import CHEATS, UNDER_FINGERPRINTS, Forger
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.replay import Recorded
from archipel.engine.toploc import BadFingerprint, prove
from archipel.model.config import DecoderConfig
from archipel.model.manifest import describe
from archipel.model.network import Decoder
from archipel.proofs.calibration import Model, calibrate
from archipel.proofs.citing import measures_of
from archipel.proofs.forced import Forcing
from archipel.proofs.plan import Plan
from archipel.proofs.record import Calibration
from archipel.records.measures import Measures, SumTest
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.work.measuring import Measuring
from archipel.work.policies import Policy
from archipel.work.programme import Finding
from engine.engine_models import decoder_of

CONFIG = DecoderConfig(
    family="qwen3", vocab_size=96, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    intermediate_size=64, max_position_embeddings=64,
)  # fmt: skip
CLASS = "archipel-fp32-cpu"
PLAN = Plan(dtypes=("fp32",), slots=(1, 16), threads=(1,), groups=4, rollouts=4, max_new_tokens=16)
ASKED = Request(key="3", prompt=(5, 6, 7), seed=77, num_rollouts=4, max_new_tokens=16)
State = dict[str, Any]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(3)
    values = Decoder(CONFIG).state_dict().items()
    return {
        name: (value if value.ndim == 1 else torch.randn_like(value) * 0.3).bfloat16()
        for name, value in values
    }


LIMITS = {
    "flips": 0.02, "excess_mean": 1e-5, "excess_largest": 1e-4, "logprob_mean": 1e-5, "logprob_largest": 1e-4,
    "logprob_bias": 1e-5,
}  # fmt: skip
"""As a calibration of this model may give them."""


@pytest.fixture(scope="module")
def measures() -> Measures:
    test = SumTest(odd_micro=2_000_000, even_micro=-300_000, accuses_micro=17_000_000)
    limits = {name: round(most * 1e9) for name, most in LIMITS.items()}
    return Measures(calibration="sha256:" + "0" * 64, limits=limits, least_drawn=32, tests=(test,))


SEEN = (
    "other weights", "int8 weights", "int4 weights", "low-rank nudge", "temperature 1.02", "own noise", "best of 4",
    "edited token", "forged log-probabilities", "copied results", "other prompt",
)  # fmt: skip
Measure = Callable[[list[tuple[Rollout, ...]]], Finding]


@pytest.fixture(scope="module")
def measure(state: State, measures: Measures) -> Measure:
    measuring = Measuring(CONFIG, CLASS, measures)
    measuring.use(Policy(state, describe(state, 0, None)))

    def found(groups: list[tuple[Rollout, ...]]) -> Finding:
        return measuring.measure([Recorded(ASKED, dict(enumerate(groups[0])))])

    return found


def engine_of(state: State, slots: int = 16) -> LocalEngine:
    engine = LocalEngine(CONFIG, limits=EngineLimits(max_slots=slots))
    engine.load(state)
    return engine


def test_an_honest_answer_agrees_whatever_its_batch(
    state: State, measure: Measure, measures: Measures
) -> None:
    for slots in (1, 2, 16):
        found = measure(engine_of(state, slots).generate([ASKED]))
        assert (found.difference, found.cannot) == (None, None)
        assert found.measured is not None
        assert found.measured.figures.keys() == measures.limits.keys()
        assert found.measured.drawn >= measures.least_drawn


@pytest.mark.parametrize("way", ["int8 weights", "own noise", "forged log-probabilities"])
def test_a_cheat_is_beyond_the_limits_with_its_first_answer(
    state: State, measure: Measure, way: str
) -> None:
    found = measure(CHEATS[way](Forger(engine_of(state), [state]), [ASKED]))
    assert found.difference is not None, way
    assert found.difference.what in ("token", "log-probability")
    assert found.measured is not None
    assert "at most" in found.difference.recomputed


@pytest.mark.slow
def test_by_a_calibration_of_this_model_honest_answers_pass_and_every_cheat_is_seen_at_once(
    state: State,
) -> None:
    pairs = tuple(calibrate(Model(CONFIG, state, [(5, 6, 7), (8, 9)]), PLAN, lambda words: None))
    digest = describe(state, 0, None).state
    record = Calibration(
        model=digest, machine="x", made="2026-01-01", confidence=0.95, plan={}, pairs=pairs
    )
    measuring = Measuring(CONFIG, CLASS, measures_of(record.to_bytes(), CLASS, 0.01))
    measuring.use(Policy(state, describe(state, 0, None)))
    engine, forger = engine_of(state), Forger(engine_of(state), [state])
    for seed in range(8):
        asked = replace(ASKED, seed=seed)
        own = Recorded(asked, dict(enumerate(engine.generate([asked])[0])))
        assert measuring.measure([own]).difference is None
        for way in SEEN:
            made = Recorded(asked, dict(enumerate(CHEATS[way](forger, [asked])[0])))
            assert measuring.measure([made]).difference is not None, way


PRINTED = {"exponents": 0.1, "exponents_mean": 0.02, "mantissas": 1.0, "mantissas_mean": 0.1}


@pytest.fixture(scope="module")
def measure_prints(state: State, measures: Measures) -> Measure:
    """By limits of fingerprints alone, beside such of tokens that nothing exceeds."""
    wide = dict.fromkeys(measures.limits, 10**14)
    limits = {name: round(most * 1e9) for name, most in PRINTED.items()}
    measuring = Measuring(CONFIG, CLASS, measures.model_copy(update={"limits": wide | limits}))
    measuring.use(Policy(state, describe(state, 0, None)))
    return lambda groups: measuring.measure([Recorded(PRINTING, dict(enumerate(groups[0])))])


PRINTING = replace(ASKED, tells_fingerprints=True)


def test_honest_fingerprints_agree_and_forged_borrowed_or_missing_ones_do_not(
    state: State, measure_prints: Measure
) -> None:
    forger = Forger(engine_of(state), [state])
    honest = measure_prints(engine_of(state, 2).generate([PRINTING]))
    assert (honest.difference, honest.cannot) == (None, None)
    assert honest.measured is not None
    assert PRINTED.keys() <= honest.measured.figures.keys()
    for way, forge in UNDER_FINGERPRINTS.items():
        found = measure_prints(forge(forger, [PRINTING])).difference
        assert found is not None, way
        assert found.what == "fingerprint", way
    with pytest.raises(BadFingerprint, match="without fingerprints"):
        measure_prints(engine_of(state).generate([ASKED]))


def test_fingerprints_of_what_was_sampled_do_not_fit_an_edited_token_and_say_from_where(
    state: State, measure_prints: Measure
) -> None:
    (group,) = CHEATS["edited token"](Forger(engine_of(state), [state]), [PRINTING])
    found = measure_prints([group]).difference
    assert found is not None
    assert (found.what, found.rollout) == ("fingerprint", 0)


def test_whoever_reads_the_right_model_on_edited_tokens_has_its_fingerprints_and_is_seen_by_the_noise(
    state: State, measure: Measure, measure_prints: Measure
) -> None:
    """What fingerprints do not show."""
    (group,) = CHEATS["edited token"](Forger(engine_of(state), [state]), [PRINTING])
    told = Forcing(decoder_of(CONFIG, state)).check(Recorded(PRINTING, {0: group[0]}))
    again = replace(group[0], fingerprints=prove(told[0].hidden))
    assert measure_prints([(again, *group[1:])]).difference is None
    assert measure([(again, *group[1:])]).difference is not None


@pytest.mark.parametrize("way", ["int8 weights", "int4 weights", "other weights", "other prompt"])
def test_fingerprints_of_another_model_or_prompt_are_beyond_the_limits(
    state: State, measure_prints: Measure, way: str
) -> None:
    found = measure_prints(CHEATS[way](Forger(engine_of(state), [state]), [PRINTING]))
    assert found.difference is not None
    assert found.difference.what == "fingerprint"


def test_what_ends_where_it_should_not_is_told_and_not_measured(
    state: State, measure: Measure
) -> None:
    first, *rest = engine_of(state).generate([ASKED])[0]
    cut = replace(first, tokens=first.tokens[:5], logprobs=first.logprobs[:5])
    found = measure([(cut, *rest)])
    assert found.difference is not None
    assert (found.difference.what, found.measured) == ("end", None)


def test_an_answer_of_few_tokens_is_too_thin_to_be_judged(state: State, measures: Measures) -> None:
    measuring, asked = Measuring(CONFIG, CLASS, measures), replace(ASKED, max_new_tokens=4)
    measuring.use(Policy(state, describe(state, 0, None)))
    rollouts = engine_of(state).generate([asked])[0]
    assert measuring.measure([Recorded(asked, dict(enumerate(rollouts)))]).cannot == "thin"
