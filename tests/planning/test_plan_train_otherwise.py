"""The same run as others count it: electricity and CO2 of model cards, Epoch's written-off hardware."""

import pytest

from planning.asked import constant, data, value

CARDS = [
    # accelerator-hours (thousands), kind, MWh, tonnes at 385 g/kWh: Touvron et al. 2023, table 15
    ("llama-7b", 82.432, "a100-80", 36, 14),
    ("llama-65b", 1022.362, "a100-80", 449, 173),
]


@pytest.mark.parametrize(("name", "thousand_hours", "kind", "mwh", "tonnes"), CARDS)
def test_electricity_is_counted_as_model_cards_count_it(
    name: str, thousand_hours: float, kind: str, mwh: float, tonnes: float
) -> None:
    found = data(
        "train", "energy.carbon.usa=385", params="7B", tokens="1T", accelerator=kind, price="1 USD/h",
    )  # fmt: skip
    scale = thousand_hours * 1e3 / value(found, "train.accelerator_hours")
    assert value(found, "published.card_energy") * scale == pytest.approx(mwh, rel=0.01), name
    assert value(found, "published.card_co2") * scale == pytest.approx(tonnes, rel=0.01), name


def test_hardware_is_written_off_as_the_published_trend_says() -> None:
    found = data("train", params="7B", tokens="1T")
    server = constant("purchase.h100") / (1 - constant("facility.interconnect_share"))
    expected = server * constant("hardware.price_performance.orders") * 2.302585 / 8766
    assert value(found, "published.chip_hour") == pytest.approx(expected)
    hours = value(found, "train.accelerator_hours")
    assert value(found, "published.amortised") == pytest.approx(hours * expected)
