"""`archipel bench device` finds what holds on a device, and what does not."""

from dataclasses import replace

import pytest
import torch

from archipel.bench import device_checks
from archipel.bench.device import WHOLE, measure, table
from archipel.engine import generation, selftest
from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.engine import LocalEngine
from archipel.model import devices
from archipel.model.adapter import single_targets
from archipel.model.config import FAMILIES, Family
from archipel.model.devices import NoDevice
from archipel.model.families import TRAITS
from archipel.records.adapter import TARGETS
from archipel.records.cuts import Cut
from archipel.training.optimiser import MasterAdamW

PLAN = replace(WHOLE, families=("qwen3",), dtypes=("float32",), versions=1, models=(), exact=False)


@pytest.fixture(autouse=True)
def _less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_checks, "NEW_TOKENS", 6)
    monkeypatch.setattr(device_checks, "ROLLOUTS", 2)
    for name, values in {
        "_PROMPT_LENGTHS": (3, 8, 21, 40, 50), "_NEW_TOKENS": (2, 5, 1, 3, 4), "_GROUP_SIZES": (1, 3, 2, 2, 1),
    }.items():  # fmt: skip
        monkeypatch.setattr(selftest, name, values)


def held(result: dict) -> dict[str, bool]:
    return {each["name"]: each["held"] for each in result["findings"]}


def test_everything_holds_on_the_processor_and_nothing_is_passed_over() -> None:
    said: list[str] = []
    result = measure("cpu", PLAN, said.append)
    assert result["sound"]
    assert len(held(result)) == 3 + 4
    assert all(held(result).values())
    assert said == ["engine, qwen3, float32", "trainer"]
    assert all(name in table(result) for name in held(result))


def test_every_family_has_a_small_model_and_an_adapter_that_lies_over_it() -> None:
    for family in FAMILIES:
        config, state = device_checks.small(family)
        assert (config.experts is not None) == TRAITS[family].has_experts
        assert state
        form = device_checks._form(config)
        assert device_checks._lively_adapter(config, form)
        assert set(form.targets) == set(TARGETS) & set(single_targets(config))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_holds_on_the_processor(family: Family) -> None:
    found = list(device_checks.engine_findings("cpu", family, "float32"))
    assert [each.held for each in found] == [True] * 3


@pytest.mark.parametrize("width", [80, 50])
def test_a_table_has_its_columns_and_loses_no_word(width: int) -> None:
    said = (
        "3 versions, sha256:" + "1" * 12 + " and sha256:" + "2" * 12 + " beside the processor's own"
    )
    finding = {
        "name": "S = 0 twice gives the same weights, whole weights",
        "held": True,
        "needed": True,
    }
    speed = {
        "tokens_per_s": 1.0,
        "what": "sampled",
        "model": "demo",
        "dtype": "w12a13",
        "batch": 128,
        "length": 64,
    }
    shown = table(
        {"device": "cuda:0", "about": "NVIDIA H200", "findings": [finding | {"said": said}], "speeds": [speed]}, width
    )  # fmt: skip
    assert max(map(len, shown.splitlines())) <= width
    assert said in " ".join(shown.split())
    assert "           1 tokens/s sampled" in shown


def test_an_engine_that_computes_another_model_is_no_sound_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = FloatArithmetic.scales
    monkeypatch.setattr(FloatArithmetic, "scales", lambda self, x: plain(self, x) * 1.01)
    found = list(device_checks.engine_findings("cpu", "qwen3", "float32"))
    lost = {each.name for each in found if not each.held}
    assert "engine agrees with the trainer, qwen3 float32" in lost
    assert "the same of an adapter, qwen3 float32" in lost


def test_a_trainer_that_is_not_the_same_twice_is_no_sound_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, generator = MasterAdamW.step, torch.Generator().manual_seed(0)

    def shaken(self: MasterAdamW, rate: float) -> float:
        chance = float(torch.rand((), generator=generator))
        return plain(self, rate * (1 + chance))

    monkeypatch.setattr(MasterAdamW, "step", shaken)
    result = measure("cpu", replace(PLAN, families=()), lambda text: None)
    assert not result["sound"]
    assert not held(result)["S = 0 twice gives the same weights, whole weights"]
    assert "DOES NOT HOLD" in table(result)


@pytest.mark.parametrize("kind", [NotImplementedError, ValueError])
def test_a_check_that_breaks_off_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuses(*args: object) -> None:
        raise kind("no such kernel\nwith a long tale")

    monkeypatch.setattr(MasterAdamW, "step", refuses)
    result = measure("cpu", replace(PLAN, families=()), lambda text: None)
    (found,) = result["findings"]
    assert (found["name"], found["said"]) == ("trainer", "broke off: no such kernel")
    assert not result["sound"]


def test_a_device_that_is_not_here_is_named_with_those_that_are() -> None:
    with pytest.raises(NoDevice, match=r"device cuda:7 .* finds cpu"):
        measure("cuda:7", PLAN, lambda text: None)
    with pytest.raises(NoDevice, match=r"'abacus' is no device .* expected cpu, cuda"):
        measure("abacus", PLAN, lambda text: None)


def test_a_device_that_does_not_start_says_what_its_library_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> None:
        raise RuntimeError("Error 304: OS call failed\nand much more")

    with pytest.raises(NoDevice, match="install a torch that is built for it"):
        devices.ready_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", fails)
    with pytest.raises(
        NoDevice, match=r"though .* is built for it: Error 304: OS call failed; this torch .* finds"
    ):
        devices.ready_device("cuda")


def test_what_a_device_without_float64_draws_on_the_processor_is_what_it_would_draw_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Apple's GPUs: the logits come over, the token goes back."""
    config, state = device_checks.small("qwen3")
    requests = [
        replace(each, cut=cut)
        for each, cut in zip(
            device_checks._requests(config),
            (None, Cut(top_p=0.9), None, Cut(min_p=0.1)),
            strict=False,
        )
    ]
    engine = LocalEngine(config)
    engine.load(state)
    expected = engine.generate(requests)
    asked: list[torch.device] = []
    monkeypatch.setattr(
        generation, "float64_place", lambda device: asked.append(device) or devices.CPU
    )
    other = LocalEngine(config)
    other.load(state)
    assert other.generate(requests) == expected
    assert asked == [torch.device("cpu")]
    assert devices.float64_place(torch.device("cpu")) == devices.CPU


def test_running_sums_are_made_under_every_promise_of_order() -> None:
    x = torch.rand(3, 200)
    plain = devices.running_sums(x)
    with devices.in_one_order(devices.CPU):
        assert torch.equal(devices.running_sums(x), plain)
    assert torch.equal(plain, x.cumsum(-1, dtype=torch.float64))
    assert not torch.are_deterministic_algorithms_enabled()
