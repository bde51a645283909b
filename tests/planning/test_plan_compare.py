"""`plan compare`: what two plans share cancels, what differs is listed, what cannot be compared is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.cli.doors import Mendable
from archipel.cli.plan_compare import command
from archipel.planning.answering import Setting, for_json
from archipel.planning.asking import Ask
from archipel.planning.comparing import compared, compared_text
from archipel.planning.drawing import picture
from archipel.planning.mistakes import UnknownName
from archipel.planning.requests import REQUESTS

FEW = Setting(samples=200)


def _ask(question: str, *overrides: str, setting: Setting = FEW, **request: Any) -> Ask:
    return Ask(question, REQUESTS[question](**request), setting, overrides=overrides)


def _rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["rows"]}


def test_a_plan_against_itself_is_one_everywhere_and_differs_in_nothing() -> None:
    found = compared(("a", _ask("meek")), ("b", _ask("meek")))
    assert [row["ratio"] for row in found["rows"]] == [{"value": 1.0, "low": 1.0, "high": 1.0}] * 8
    assert found["options"] == found["inputs"] == []


def test_twice_as_many_accelerators_cost_exactly_twice_as_much_in_every_world() -> None:
    """Each purchase is uncertain by half; the ratio is not, since both plans see the same worlds."""
    found = compared(
        ("a", _ask("lab", accelerators="8192")), ("b", _ask("lab", accelerators="16384"))
    )
    row = _rows(found)["lab.purchase"]
    assert row["first"]["high"] > 1.2 * row["first"]["low"]
    assert row["ratio"]["high"] - row["ratio"]["low"] < 0.05
    assert row["ratio"]["value"] == pytest.approx(2.0, rel=0.02)


def test_the_second_is_put_with_the_seed_of_the_first() -> None:
    other = _ask("meek", setting=Setting(seed=7, samples=50))
    found = compared(("a", _ask("meek")), ("b", other))
    assert found["setting"] == {"seed": 0, "samples": 200}
    assert found["second"]["ask"]["setting"] == found["first"]["ask"]["setting"]
    assert all(row["ratio"]["low"] == 1.0 for row in found["rows"])


def test_options_and_constants_that_differ_are_listed() -> None:
    found = compared(
        ("a", _ask("meek")), ("b", _ask("meek", "frontier.meek.g_h=1.2", budget="1M USD"))
    )
    assert {row["option"] for row in found["options"]} == {"budget", "set frontier.meek.g_h"}
    changed = {row["name"]: row for row in found["inputs"]}
    assert changed["frontier.meek.g_h"]["first"]["value"] == 1.4
    assert changed["frontier.meek.g_h"]["second"]["value"] == 1.2


def test_any_quantity_of_both_can_be_named() -> None:
    found = compared(("a", _ask("meek")), ("b", _ask("meek", budget="1M USD")), ["meek.gap.5y"])
    assert found["rows"][-1]["name"] == "meek.gap.5y"
    assert found["rows"][-1]["ratio"]["value"] < 1
    with pytest.raises(UnknownName, match=r"meek\.peak_time"):
        compared(("a", _ask("meek")), ("b", _ask("meek")), ["meek.peak_tim"])


def test_two_questions_without_a_common_answer_are_refused() -> None:
    result = _run("lab", "meek")
    assert isinstance(result.exception, Mendable)
    assert "nothing to compare" in str(result.exception)
    assert "lab.purchase" in str(result.exception)


def test_text_data_and_picture_show_the_same_comparison(tmp_path: Path) -> None:
    found = compared(("meek", _ask("meek")), ("meek --budget 1M", _ask("meek", budget="1M USD")))
    text = compared_text(found)
    assert "B / A" in text
    assert "1M USD" in text
    json.dumps(for_json(found), allow_nan=False)
    assert picture(found, "svg").startswith(b"<?xml")


def test_saved_plans_and_quoted_requests_go_together(tmp_path: Path) -> None:
    saved = tmp_path / "mine.json"
    saved.write_text(json.dumps(for_json(_ask("meek", budget="5000 USD").data())), "utf-8")
    result = _run(str(saved), "plan meek --budget '7000 USD' --samples 50", "--json")
    found = json.loads(result.output)
    assert found["options"] == [{"option": "budget", "first": "5000 USD", "second": "7000 USD"}]
    assert found["setting"]["samples"] == 200


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("labb", "did you mean 'lab'"),
        ("lab --knd h100", "--kind"),
        ("lab --kind 'h100", "quotation"),
        ("", "empty request"),
        ("missing.json", "cannot read"),
    ],
)
def test_a_request_that_cannot_be_read_is_named(first: str, words: str) -> None:
    result = _run(first, "lab")
    assert isinstance(result.exception, Mendable)
    assert words in str(result.exception)


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "not json", '{"ask": {"question": "lab"}}'):
        path = tmp_path / "odd.json"
        path.write_text(text, "utf-8")
        assert isinstance(_run(str(path), "lab").exception, Mendable), text


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments, standalone_mode=False)
