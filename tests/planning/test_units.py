"""Units: products of named units that convert where they measure the same, spelled as plans print them."""

import json

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from archipel.planning import compiled
from archipel.planning.dimensions import Unit
from archipel.planning.mistakes import UnitMismatch
from archipel.planning.units import amount, compatible, factor, spell, unit

SPELLED = {
    "": "", "1": "", "per day": "1/d", "TB/s each": "TB/accelerator/s", "kW*h": "h·kW", "kWh": "kWh",
    "USD/accelerator-hour": "USD/accelerator/h", "accelerator-hours": "accelerator·h", "a": "yr",
    "(USD/h)/accelerator": "USD/accelerator/h", "USD/(accelerator*h)": "USD/accelerator/h", "h**2": "h^2",
    "GWh/year": "GWh/yr", "B USD": "USD·B", "%": "percent", "GPU-hours": "accelerator·h", "Gbps": "Gbps",
    "(USD/accelerator)/accelerator": "USD/accelerator^2", "h/h": "", "kyears": "kyr", "USD^-1": "1/USD",
    "USD/Mtoken": "USD/Mtoken", "exaFLOPs": "EFLOP", "people": "person", "min": "min", "m2/MW": "m2/MW",
}  # fmt: skip
FACTORS = [
    ("kWh", "J", 3.6e6), ("year", "day", 365.25), ("month", "year", 1 / 12), ("Gbit/s", "MB/s", 125.0),
    ("USD/Mtoken", "USD/token", 1e-6), ("GWh/year", "MW", 1 / 8.766), ("percent", "1", 0.01),
    ("m3", "L", 1000.0), ("BUSD", "MUSD", 1000.0), ("kg/kWh", "g/J", 1 / 3600),
]  # fmt: skip


@pytest.mark.parametrize(("text", "spelled"), SPELLED.items())
def test_a_unit_is_spelled_short_and_its_spelling_means_the_same(text: str, spelled: str) -> None:
    assert spell(unit(text)) == spelled
    assert unit(spelled) == unit(text)


@pytest.mark.parametrize(("source", "target", "times"), FACTORS)
def test_a_factor_turns_one_unit_into_another_and_back(
    source: str, target: str, times: float
) -> None:
    assert factor(unit(source), unit(target)) == pytest.approx(times, rel=1e-14)
    assert factor(unit(target), unit(source)) == pytest.approx(1 / times, rel=1e-14)


@pytest.mark.parametrize(
    "text", ["parsec", "k", "USD/", "USD**", "h^x", "2 h", "h/2", "(h", "h)", "^", "-h", "kkh", "h" * 90]
)  # fmt: skip
def test_what_is_no_unit_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(UnitMismatch, match=r"unknown unit .* units are for instance"):
        unit(text)


UNITS = st.sampled_from(["USD", "h", "kWh", "Mtoken", "accelerator", "percent", "TB", "1"])


@examples(UNITS, UNITS, UNITS)
def test_products_and_quotients_undo_each_other(a: str, b: str, c: str) -> None:
    first, second, third = unit(a), unit(b), unit(c)
    assert first * second / second == first
    assert (first * second) * third == first * (second * third)
    assert (first / second) ** -1 == second / first
    assert first**0 == Unit()
    assert (first * second).size == pytest.approx(first.size * second.size)
    assert compatible(first * second, second * first)


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("$2.95/accelerator-hour", "USD/(accelerator*h)", 2.95),
        ("2.95 USD/accelerator-hour", "USD/(accelerator*h)", 2.95),
        ("$2.95/h", "USD/(accelerator*h)", 2.95),
        ("USD 3 M", "USD", 3e6),
        ("$14 M", "USD", 14e6),
        ("$37 M/yr", "USD/year", 37e6),
        ("70 B param", "param", 70e9),
        ("36.6%", "1", 0.366),
        ("12 years", "year", 12.0),
        ("$1.9/EFLOP", "USD/EFLOP", 1.9),
    ],
)
def test_what_a_plan_prints_can_be_given_back_to_it(text: str, expected: str, value: float) -> None:
    assert amount(text, expected, "it") == pytest.approx(value)


def test_what_is_kept_of_a_folder_is_what_its_files_say(tmp_path, monkeypatch) -> None:
    """Kept, damaged, outdated or impossible to keep: the same data."""
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    monkeypatch.setattr(compiled.sys, "dont_write_bytecode", False)
    monkeypatch.setattr(compiled.sys, "pycache_prefix", None)
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / "a@2026-01.toml"
    file.write_text("day = 2026-01-02\n[x]\ny = {value = 1.5}\n")
    first = compiled.folder.__wrapped__("tables")
    assert first == {"a@2026-01": {"day": "2026-01-02", "x": {"y": {"value": 1.5}}}}
    (kept,) = (tmp_path / "tables" / "__pycache__").iterdir()
    told = json.loads(kept.read_text())
    told["files"]["a@2026-01"]["day"] = "from what was kept"
    kept.write_text(json.dumps(told))
    assert compiled.folder.__wrapped__("tables")["a@2026-01"]["day"] == "from what was kept"
    file.write_text("day = 2026-01-03\n")
    assert compiled.folder.__wrapped__("tables") == {"a@2026-01": {"day": "2026-01-03"}}
    for damage in ("", "[1]", '{"made_of": 1}'):
        kept.write_text(damage)
        assert compiled.folder.__wrapped__("tables") == {"a@2026-01": {"day": "2026-01-03"}}
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder can be made here")
    assert compiled.folder.__wrapped__("tables") == {"a@2026-01": {"day": "2026-01-03"}}
