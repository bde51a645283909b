"""What is measured of waiting is the engine's work: between tokens, and before the first."""

from dataclasses import replace

from archipel.bench.streams import first_token, worst_gap
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from engine.engine_models import lively_state, small_config

CONFIG = small_config(max_position_embeddings=512)
STREAM = Request("stream", (1, 2, 3), seed=1, num_rollouts=1, max_new_tokens=100)
ENTERING = replace(STREAM, prompt=(5,) * 300, max_new_tokens=2, salt="one")


def engine_with(limits: EngineLimits) -> LocalEngine:
    engine = LocalEngine(CONFIG, limits=limits)
    engine.load(lively_state(CONFIG))
    return engine


def test_waiting_is_measured_in_what_was_read_meanwhile() -> None:
    for limits, gap in ((EngineLimits(), 300), (EngineLimits(max_step_tokens=64, block=64), 64)):
        engine = engine_with(limits)

        def positions(engine: LocalEngine = engine) -> float:
            return engine.counts["positions_read"]

        assert worst_gap(engine, STREAM, ENTERING, positions) == gap
        assert first_token(engine, ENTERING, positions) == 300
        assert not engine.has_work


def test_a_prompt_that_is_known_comes_sooner() -> None:
    engine = engine_with(EngineLimits.serving(10**8))

    def positions() -> float:
        return engine.counts["positions_read"]

    assert first_token(engine, ENTERING, positions) == 300
    assert first_token(engine, ENTERING, positions) == 300 - 256
    assert first_token(engine, replace(ENTERING, salt="two"), positions) == 300
