"""What a node asks by itself: its cost by its own pace, draw and energy; and how its machine tells of its power."""

import stat
import sys
from pathlib import Path

import pytest

from archipel.market.asks import cost_of
from archipel.node.asks import (
    BENCHMARK_BYTES,
    MIN_MEASURED_S,
    Asking,
    Pace,
    ask_of,
    ask_words,
    brought_words,
    energy_of,
    hour_at,
    means_of,
    offer_of,
    scaled,
)
from archipel.node.power import MIN_SPAN_S, Meter, cards_watts


def test_its_own_pace_counts_more_than_the_benchmark_once_it_is_long_enough() -> None:
    pace = Pace()
    pace.add(1, 1000.0)  # the first says nothing
    pace.add(50_000, MIN_MEASURED_S - 1)
    assert pace.rate_milli == 0
    pace.add(50_000, 1.0)
    assert pace.rate_milli == 20_000_000
    early = means_of(Asking(), None, 2, (0, 9_000_000))
    late = means_of(Asking(), None, 2, (pace.rate_milli, 9_000_000))
    assert early is not None
    assert late is not None
    assert (early.machine.rate_milli, early.is_own_rate) == (9_000_000, False)
    assert (late.machine.rate_milli, late.is_own_rate) == (20_000_000, True)
    assert means_of(Asking(), None, 2, (0, 0)) is None


def test_watts_are_as_said_else_as_measured_else_assumed() -> None:
    rates = (0, 1_000_000)
    for asking, measured, watts, source in (
        (Asking(watts=70), 55, 70, "said"),
        (Asking(), 55, 55, "measured"),
        (Asking(), None, 40, "assumed"),
    ):
        means = means_of(asking, measured, 2, rates)
        assert means is not None
        assert (means.machine.watts, means.watts_from) == (watts, source)
        assert energy_of(asking, measured, 2) == watts * 313
        assert f"{watts} W ({source})" in ask_words(asking, means, 7)


def test_it_asks_its_cost_unless_it_is_told_otherwise() -> None:
    means = means_of(Asking(), 100, 1, (0, 1_000_000))
    assert means is not None
    assert ask_of(Asking(), means.machine) == cost_of(means.machine).ask == 11_473
    assert ask_of(Asking(micro=5), means.machine) == 5
    assert "--energy-price" in ask_words(Asking(), means, 11_473)
    assert "--energy-price" not in ask_words(Asking(says_energy=True), means, 11_473)
    assert "below its energy of 0.00869" in ask_words(Asking(micro=5), means, 5)
    assert ask_words(Asking(micro=10**6), means, 10**6).endswith("as told (--ask)")


def test_it_offers_what_it_can_deliver_in_the_time_that_it_works() -> None:
    means = means_of(Asking(), 100, 1, (0, 1_000_000))
    assert means is not None
    assert offer_of(Asking(), means.machine, 100_000, 1.0) == 10
    assert offer_of(Asking(), means.machine, 100_000, 0.35) == 3
    assert offer_of(Asking(lots=2), means.machine, 100_000, 1.0) == 2
    whole, half = (hour_at(means.machine, 50_000, duty) for duty in (1.0, 0.5))
    assert (whole.brings, half.brings) == (180_000, 90_000)
    assert (whole.energy, half.energy) == (31_300, 15_650)


def test_of_a_larger_model_the_benchmark_promises_less() -> None:
    assert scaled(1000, 0) == scaled(1000, BENCHMARK_BYTES) == 1000
    assert scaled(1000, 10 * BENCHMARK_BYTES) == 100
    assert scaled(0, 10) == 0
    assert scaled(1, 10**12) == 1


def test_the_benchmarks_model_is_as_large_as_is_said() -> None:
    from archipel.model.config import DecoderConfig
    from archipel.model.network import random_weights
    from archipel.model.tokenizer import character_tokenizer
    from archipel.records.recipe import ModelSection

    config = DecoderConfig.from_section(ModelSection(), character_tokenizer())
    held = 2 * sum(each.numel() for each in random_weights(config, seed=0).parameters())
    assert abs(held - BENCHMARK_BYTES) < BENCHMARK_BYTES // 10


def test_nothing_is_said_of_an_hour_before_it_can_be_told() -> None:
    assert brought_words(1000, MIN_MEASURED_S / 2, 10) == ""
    assert brought_words(1000, 100.0, None) == ""
    said = brought_words(1_000_000, 3600.0, 12_500)
    assert said == "an hour of work brings about 1.000 credits, its energy costs 0.0125"


class Zones:
    """A machine's counters."""

    def __init__(self, system: Path, **microjoules: int) -> None:
        self._folder = system / "class" / "powercap"
        self.write(**microjoules)

    def write(self, **microjoules: int) -> None:
        for name, value in microjoules.items():
            zone = self._folder / name.replace("_", ":")
            zone.mkdir(parents=True, exist_ok=True)
            (zone / "energy_uj").write_text(f"{value}\n")
            (zone / "max_energy_range_uj").write_text("1000000\n")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("archipel.node.power.time.monotonic", lambda: now[0])
    return now


def test_packages_are_added_up_their_parts_are_not_and_counters_may_start_again(
    tmp_path: Path, clock: list[float]
) -> None:
    zones = Zones(tmp_path, **{"intel-rapl_0": 100, "intel-rapl_0_0": 50, "intel-rapl_1": 900_000})
    with Meter(tmp_path) as meter:
        clock[0] += 0.5
        zones.write(**{"intel-rapl_0": 16_000_100, "intel-rapl_0_0": 9_000_000, "intel-rapl_1": 0})
    assert meter.watts == round((16.0 + 0.1) / 0.5 * 1.25)


def test_a_machine_that_does_not_tell_has_no_watts(tmp_path: Path, clock: list[float]) -> None:
    with Meter(tmp_path) as absent:
        clock[0] += 1.0
    zones = Zones(tmp_path, **{"intel-rapl_0": 0, "intel-rapl_1": 0})
    with Meter(tmp_path) as short:
        clock[0] += MIN_SPAN_S / 2
        zones.write(**{"intel-rapl_0": 9_000_000})
    (tmp_path / "class" / "powercap" / "intel-rapl:1" / "energy_uj").write_text("garbage")
    with Meter(tmp_path) as damaged:
        clock[0] += 1.0
    assert (absent.watts, short.watts, damaged.watts) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "watts"),
    [("350.00\n700.00\n", 350), ("\n", None), ("[N/A]\n", None), ("-3\n", None), ("nan\n", None)],
)
def test_cards_tell_their_limits_or_nothing(tmp_path: Path, told: str, watts: int | None) -> None:
    command = (sys.executable, "-c", f"print({told!r}, end='')")
    assert cards_watts(1, command) == watts
    if watts:
        assert cards_watts(2, command) == 1050
    assert cards_watts(1, (str(tmp_path / "absent"),)) is None


def test_what_is_kept_of_the_question_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    from archipel.cli.node_asks import FILE, asking_of

    given = {
        "energy_price": None,
        "watts": None,
        "wear": 0.1,
        "credit_usd": 1.0,
        "ask": None,
        "lots": None,
        "region": "eu-north",
        "no_bid": False,
    }
    untold = asking_of(given, tmp_path, may_ask=False)
    assert (untold.micro_per_kwh, untold.says_energy) == (313_000, False)
    assert not (tmp_path / FILE).exists()
    half = asking_of(given | {"energy_price": 0.2, "credit_usd": 0.5}, tmp_path, may_ask=False)
    assert (half.micro_per_kwh, half.wear_micro_per_kwh, half.says_energy) == (
        400_000,
        200_000,
        True,
    )
    from archipel.cli import node_asks

    node_asks._keep(tmp_path, 0.25)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert asking_of(given, tmp_path, may_ask=True).micro_per_kwh == 250_000
