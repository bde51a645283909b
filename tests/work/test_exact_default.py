"""Whether a run is exact by default: decided by size, nearness and time, each of which alone can say no."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from archipel.engine.exact import timing
from archipel.engine.exact.choice import Choice, read_choice, write_choice
from archipel.engine.exact.scoring import Figures
from archipel.engine.exact.variants import VARIANTS
from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from archipel.records.exact import CONTRACTS
from archipel.work import exact_default, exact_finding
from archipel.work.exact_check import read, state_of
from archipel.work.exact_default import MIN_PARAMETERS, Decision, as_before, by_size, decide
from archipel.work.exact_finding import find_out
from engine.engine_models import lively_state, small_config
from tiny import SECRET, tiny_recipe

RECIPE = tiny_recipe(1, 0)
NEAR = Figures(10, 1e-5, 1e-6, 1e-4, 1e-3, 2.0, 0.99)
CHOICE = Choice(
    "w13a15", VARIANTS["w13a15"].identity, 9e-4, "bf16", {"w13a15": NEAR}, "sha256:t", "sha256:s"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tokenizer = character_tokenizer()
    config = small_config("qwen3", vocab_size=tokenizer.vocab_size)
    write_model(tmp_path / "model", lively_state(config), config, tokenizer)
    return tmp_path / "model"


def found(model: Path) -> Decision:
    return find_out(RECIPE, model, SECRET, lambda words: None, "DIR")


@pytest.mark.parametrize(
    ("num_parameters", "choice", "ratio", "variant", "why"),
    [
        (MIN_PARAMETERS, CHOICE, 1.0, "w13a15", "near enough (KL from fp32 1.0e-05, bf16's own 9.0e-04) and takes 1.00 of"),
        (10**9, CHOICE, 0.4, "w13a15", "0.40 of float32's time here, 32 sequences at once"),
        (MIN_PARAMETERS - 1, CHOICE, 0.4, None, "the model has 10.0 million parameters, and below 10"),
        (MIN_PARAMETERS, None, None, None, "no variant"),
        (MIN_PARAMETERS, None, 0.4, None, "no variant"),
        (MIN_PARAMETERS, CHOICE, None, None, "exact w13a15 is near enough"),
        (MIN_PARAMETERS, CHOICE, 1.001, None, "but takes 1.00 of"),
        (MIN_PARAMETERS, CHOICE, float("nan"), None, "but takes nan of"),
    ],
)  # fmt: skip
def test_exact_is_the_default_of_large_models_where_it_is_near_enough_and_not_slower(
    num_parameters: int, choice: Choice | None, ratio: float | None, variant: str | None, why: str
) -> None:
    decision = decide(num_parameters, choice, ratio)
    assert decision.variant == variant
    assert why in decision.why
    assert str(decision).startswith("any engine: " if variant is None else f"exact {variant}: ")


def test_a_choice_that_was_measured_on_earlier_weights_is_told_as_such() -> None:
    carried = dataclasses.replace(CHOICE, measured_on="sha256:first")
    assert "measured on an earlier version" in decide(10**8, carried, 0.5).why
    assert "earlier version" not in decide(10**8, CHOICE, 0.5).why


def test_a_run_that_goes_on_keeps_what_the_earlier_one_had_if_it_is_known() -> None:
    assert as_before("r", None) == Decision(None, "as run r was")
    for name, contract in CONTRACTS.items():
        assert as_before("r", contract) == Decision(name, "as run r was")
    assert as_before("r", "exact-9-w1a1-0123456789abcdef") is None


def test_size_alone_decides_at_once_and_loads_no_tensor_library(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = by_size(model, "DIR")
    assert small is not None
    assert (small.variant, "0.1 million parameters" in small.why) == (None, True)
    script = (
        "import sys, pathlib; from archipel.work.exact_default import by_size; "
        "assert by_size(pathlib.Path(sys.argv[1]), 'DIR'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(model)], check=True, timeout=60)
    monkeypatch.setattr(exact_default, "MIN_PARAMETERS", 1000)
    assert by_size(model, "DIR") is None
    monkeypatch.setattr(exact_default, "MAX_PARAMETERS", 2000)
    large = by_size(model, "DIR")
    assert large is not None
    assert "`archipel exact check DIR --write`" in large.why
    (model / "model.safetensors").write_bytes(b"no")
    broken = by_size(model, "DIR")
    assert broken is not None
    assert (broken.variant, "could not be tried" in broken.why) == (None, True)


def test_what_is_found_out_here_is_what_is_decided(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it, really measured and timed: whichever way it goes on this machine."""
    monkeypatch.setattr(exact_default, "MIN_PARAMETERS", 1000)
    ratios = []

    def timed(*arguments: object) -> float:
        ratios.append(timing.ratio(*arguments))  # type: ignore[arg-type]
        return ratios[-1]

    monkeypatch.setattr(exact_finding, "ratio", timed)
    decision = found(model)
    assert decision.measured is not None
    (ratio,) = ratios
    assert ratio > 0
    assert dataclasses.replace(decision, measured=None) == decide(10**6, decision.measured, ratio)
    assert decision.measured.state == state_of(read(model))
    assert decision.measured.bound == decision.measured.figures["bf16"].kl
    write_choice(model, decision.measured)
    monkeypatch.setattr(exact_finding, "check", None)
    monkeypatch.setattr(exact_finding, "ratio", lambda *arguments: 0.5)
    again = found(model)
    assert (again.variant, again.measured) == (decision.measured.variant, None)
    assert read_choice(model, state_of(read(model))).figures == decision.measured.figures


def test_nobody_waits_longer_than_the_limit_to_open_a_run(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_finding, "MEASURING_LIMIT_S", -1.0)
    decision = found(model)
    assert (decision.variant, decision.measured) == (None, None)
    assert "run `archipel exact check DIR --write` first" in decision.why


def test_what_will_take_too_long_ends_as_soon_as_that_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(exact_finding.time, "monotonic", lambda: now)
    limit = exact_finding._Limit(60.0)
    now = 30.0
    limit.foresee(0.0)
    now = 36.0
    limit.foresee(0.1)  # six seconds for a tenth: 90 s in all
    limit.look()
    with pytest.raises(exact_finding._TakesTooLong):
        limit.foresee(0.05)
    now = 61.0
    with pytest.raises(exact_finding._TakesTooLong):
        limit.look()


def test_weights_that_the_contract_cannot_hold_are_sampled_by_any_engine(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("qwen3", vocab_size=character_tokenizer().vocab_size)
    state = lively_state(config)
    state["model.norm.weight"][0] = float("inf")
    (model / "model.safetensors").unlink()
    for file in model.iterdir():
        file.unlink()
    write_model(model, state, config, character_tokenizer())
    decision = found(model)
    assert (decision.variant, decision.measured) == (None, None)
    assert decision.why.startswith("exact could not be tried: ")


def test_engines_take_turns_and_begin_anew_where_the_model_ends() -> None:
    config = small_config("llama", max_position_embeddings=40)
    state = lively_state(config)
    took = timing.ratio(config, state, ("w7a8", "fp32"), 2, 9, 60.0)
    assert took > 0
