"""The same run as others count it: electricity and CO2 of model cards, Epoch's written-off hardware."""

import math

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


RUN = {"budget": "10 days", "count": "1000"}


def _counted(kind: str, as_of: str = "") -> dict:
    return data("train", accelerator=kind, as_of=as_of, price="1 USD/h", **RUN)


def test_hardware_is_written_off_from_what_it_is_worth_when_training_starts() -> None:
    """Epoch's code: first price * 10^(-0.14 years) / (1 - 0.19) * 0.14 * ln 10 a year."""
    found = _counted("a100-40", "2022-08-12")
    years, orders = 730 / 365.25, constant("hardware.price_performance.orders")
    server = constant("epoch.sold.a100-40") / (1 - constant("facility.interconnect_share"))
    expected = server * 10 ** (-orders * years) * orders * math.log(10) / 8766
    assert value(found, "run.age") == pytest.approx(years, abs=1e-3)
    assert value(found, "published.chip_hour") == pytest.approx(expected, rel=1e-3)
    hours = value(found, "train.accelerator_hours")
    assert hours == pytest.approx(240_000)
    assert value(found, "published.amortised") == pytest.approx(hours * expected, rel=1e-3)
    assert value(found, "published.cluster") == pytest.approx(1000 * server)


def test_nothing_but_a_makers_own_accelerator_is_used_before_it_is_sold() -> None:
    assert value(_counted("a100-40", "2020-06"), "published.worth") == 100
    assert value(_counted("tpu-v4", "2021-01"), "published.worth") > 100


def test_what_was_never_sold_as_epoch_counts_is_bought_new_or_not_counted() -> None:
    found = _counted("b200", "2026-06")
    server = constant("purchase.b200") / (1 - constant("facility.interconnect_share"))
    assert value(found, "published.cluster") == pytest.approx(1000 * server)
    assert value(found, "run.age") == 0
    unknown = _counted("trainium2")["quantities"]
    assert "published.card_energy" in unknown
    assert not {"published.cluster", "published.cost", "published.cloud"} & set(unknown)


@pytest.mark.parametrize("as_of", ["2021", "2021-02", "2021-02-28", "9999-12-31"])
def test_any_date_is_a_start(as_of: str) -> None:
    assert value(_counted("v100", as_of), "published.cost_2023") > 0
