"""Scenarios: by name, out of TOML, changed by a person; faults named."""

import pytest

from archipel.planning.tables import shelf
from archipel.simulation.inputs import Inputs
from archipel.simulation.machines import kind_of
from archipel.simulation.scenario import CannotSimulate, Scenario, Spreading
from archipel.simulation.scenarios import SCENARIOS, named, read, with_settings
from archipel.simulation.spreading import rows


def test_every_scenario_has_machines_that_hold_its_policy_and_no_figure_without_a_source() -> None:
    for scenario in SCENARIOS.values():
        inputs = Inputs(shelf())
        shares = inputs.shares("simulate.share", scenario.crowd.kinds)
        kinds = [kind_of(name, scenario, inputs) for name in shares]
        assert any(kind.takes_part for kind in kinds), scenario.name
        assert all(each.source for each in inputs.used.values())
        assert all(kind.takes_part or "GB needed" in kind.why_not for kind in kinds)


def test_a_file_begins_with_a_named_scenario_and_changes_what_it_says() -> None:
    made = read(
        'like = "echo2-8b"\nhours = 2\n[crowd]\nproviders = 30\nkinds = ["rtx5090", "h100"]'
    )
    assert (made.hours, made.crowd.providers, made.audited) == (2.0, 30, False)
    assert made.crowd.kinds == ("rtx5090", "h100")
    assert made.learning == named("echo2-8b").learning


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("crowd.providers=0", "providers: got 0, expected 1 to 100000"),
        ("crowd.providers=many", "expected a number, true, false or a text in quotes"),
        ("crowd.provider=3", "unknown; expected one of"),
        ("crowd.providers=true", "got True, expected int"),
        ("crowd", "expected SECTION.FIELD=VALUE"),
        ("spreading.way='pigeons'", "expected best, star, mirrors or tree"),
        ("learning.staleness=65", "staleness: got 65, expected 0 to 64"),
        (
            "market.period_s=" + "9" * 400,
            "period_s: got a number of 1329 bits, expected at most 1000",
        ),
        ("crowd.providers=" + "9" * 5000, "expected a number, true, false or a text in quotes"),
        ("crowd.providers=" + "[" * 2000, "expected a number, true, false or a text in quotes"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(setting: str, fault: str) -> None:
    with pytest.raises(CannotSimulate, match=fault.replace("(", r"\(")):
        with_settings(Scenario(), [setting])


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 2000])
def test_a_scenario_beyond_what_toml_s_reader_bears_is_refused(value: str) -> None:
    with pytest.raises(CannotSimulate, match="not TOML"):
        read(f"[crowd]\nproviders = {value}\n")


def test_one_to_many_slows_with_the_nodes_and_a_tree_hardly_does() -> None:
    found = rows(Spreading(lab_gbit_s=1.0), 0.5, [25_000_000, 125_000_000], [64, 1024])
    few, many = found
    assert many.tail_s["star"] == pytest.approx(16 * few.tail_s["star"])
    assert many.tail_s["tree"] < 2 * few.tail_s["tree"]
    assert many.egress_gb["star"] == 512.0
    assert many.egress_gb["tree"] < 10.0
