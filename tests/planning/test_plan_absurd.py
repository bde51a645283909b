"""Absurd questions: what cannot be is refused by its option, and an answer that means nothing says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from archipel.cli.doors import Mendable
from archipel.cli.questions import read_text
from archipel.planning.asking import Ask, again
from archipel.planning.mistakes import CannotPlan
from archipel.planning.model_config import read_config
from archipel.planning.requests import REQUESTS
from archipel.planning.tables import shelf
from planning.asked import FEW, data

CONFIG: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("question", "asked", "why"),
    [
        ("lab", {"budget": "100 MUSD", "staff": "0.9", "data": "0.9"}, "nothing is left for a lab"),
        ("lab", {"budget": "1e15 USD"}, "expected at most 1e\\+08"),
        ("tune", {"own": True, "price": "5"}, "--own and --price"),
        ("tune", {"tokens": "1M", "examples": "10"}, "--tokens and --examples"),
    ],
)
def test_what_cannot_be_asked_together_or_bought_is_refused(
    question: str, asked: dict[str, Any], why: str
) -> None:
    with pytest.raises(CannotPlan, match=why):
        data(question, **asked)


def _said(**asked: Any) -> str:
    return str(data("lab" if "budget" in asked else "train", **asked)["verdict"])


def test_no_verdict_speaks_of_a_largest_run_where_none_can_be() -> None:
    assert "largest run" in _said(budget="100 MUSD")
    assert "largest run" not in _said(budget="5e12 USD")
    assert "One job cannot run" in _said(budget="5e12 USD")


def test_a_loss_worse_than_guessing_is_called_that() -> None:
    assert "worse than guessing" in _said(params="1000", tokens="1M")
    assert "worse than guessing" not in _said(params="8B", tokens="160B")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"num_key_value_heads": 5}, "num_key_value_heads is 5, expected at most the 4"),
        ({"tie_word_embeddings": "no"}, "expected true or false"),
        ({"hidden_size": 1 << 40, "intermediate_size": 1 << 40}, "parameters by its numbers"),
        ({"hidden_size": 1, "intermediate_size": 1, "vocab_size": 1}, "parameters by its numbers"),
    ],
)
def test_a_config_that_no_model_has_is_refused(changed: dict[str, Any], why: str) -> None:
    read_config(json.dumps(CONFIG), "config.json")
    with pytest.raises(CannotPlan, match=why):
        read_config(json.dumps(CONFIG | changed), "config.json")


@pytest.mark.parametrize("day", ["2025-02-30", "0000", "2025-04-31"])
def test_a_day_that_no_calendar_has_is_refused(day: str) -> None:
    with pytest.raises(CannotPlan, match="--as-of"):
        shelf(day)
    assert [shelf(each).as_of for each in ("2025", "2025-02", "2024-02-29")]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(Mendable, match="no file can have this name"):
        read_text(Path("a\0b"))


def test_a_saved_question_with_a_key_that_means_nothing_is_refused() -> None:
    ask = {"question": "lab", "request": {}}
    assert again({"ask": ask}, "p.json").question == "lab"
    with pytest.raises(CannotPlan, match="got 'version', expected only question"):
        again({"ask": ask | {"version": 9}}, "p.json")


def test_a_claim_of_ones_own_is_not_called_unused() -> None:
    claimed = {"value": 10, "unit": "MUSD", "kind": "published", "source": "a newspaper"}
    reading = {"m": "1000 * purchase.h100 * claim.one_machine"}
    mine = {"says": "y", "claimed": claimed, "compare": "about", "readings": reading}
    request = REQUESTS["claims"](claim="mine")
    said = Ask("claims", request, FEW, {"claims": {"mine": mine | {"words": {"m": "w"}}}}).data()
    assert not [notice for notice in said["notices"] if "does not use" in notice]
