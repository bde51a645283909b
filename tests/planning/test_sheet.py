"""What a sheet can say: names that may be given, and what an empty word leaves out."""

import tomllib
from typing import Any

import pytest

from archipel.planning.plan import Plan, Table
from archipel.planning.quantity import pure
from archipel.planning.questions import sheet as binding
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.questions.lawbook_market import MARKET
from archipel.planning.questions.lawbook_serving import SERVING
from archipel.planning.questions.lawbook_training import TRAINING
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests import option
from archipel.planning.tables import read_own, shelf

SHEET = """
title = "A sheet"
answers = ["its.sum"]
remarks = ["Said always.", "Said of {extra}."]
[rows]
"its.sum" = ["1", "sum", "{its.own|its.other} + 1"]
"its.other" = ["1", "what is taken if nothing is given", "2"]
"its.{part}" = ["{unit}", "twice", "2 * {tiny.{part}.is|its.other}", "members"]
"its.extra" = ["1", "what only {extra} has", "{extra} + 1"]
"its.both" = ["1", "of all that exist", "{+those}"]
[tables]
Mixed = [["", ""], [["sum", "=its.sum"], ["{extra}", "=its.sum"], ["extra", "=its.extra"], ["again", "={extra}"]]]
Extra = [["", ""], ["its.extra"]]
"Of {extra}" = [["", ""], ["its.sum"]]
Members = [["", "", ""], [{over = "members", if = "{extra}", rows = [["{part}", "=tiny.{part}.is", "{tiny.{part}.is.about}"], ["again", "=its.{part}", "{kind}"]]}], "{extra}"]
[lists]
members = "tiny"
those = ["its.extra"]
[parts]
first = {kind = "of the sheet"}
"""
OWN = """
[tiny.first]
is = {value = 5, unit = "token", kind = "assumed", source = "me", about = "a {first} of them"}
[tiny.second]
is = {value = 6, unit = "token", kind = "assumed", source = "me", about = "another"}
[tiny."no plain name"]
is = {value = 7, unit = "token", kind = "assumed", source = "me"}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where sheets are read from."""

    def read(name: str) -> dict[str, Any]:
        return tomllib.loads((tmp_path / f"{name}.toml").read_text())

    for module in (binding, option):
        monkeypatch.setattr(module, "read_sheet", read)
    return tmp_path


@pytest.fixture
def sheet(folder):
    """A sheet with the words and figures it is given."""
    (folder / "tiny.toml").write_text(SHEET)
    parts = {"named": {"first": {"unit": "token"}, "second": {"unit": "token", "kind": "given"}}}
    mine = shelf(own=read_own(OWN, "own.toml"))
    return lambda words, given=None: Sheet("tiny", mine, words, given or {}, dict(parts))


def test_the_first_name_is_taken_if_it_was_given_else_the_other(sheet):
    own = pure(7).named("its.own", "given")
    assert sheet({})["its.sum"].origin.formula == "its.other + 1"
    assert sheet({}, {"its.own": own})["its.sum"].origin.formula == "its.own + 1"


def test_what_an_empty_word_is_needed_for_is_left_out_of_remarks_rows_and_tables(sheet):
    def shown(tables: list[Table]) -> dict[str, list[str]]:
        return {table.title: [str(row[0]) for row in table.rows] for table in tables}

    without, whole = sheet({"extra": ""}), sheet({"extra": "its.other"})
    assert without.remarks() == ("Said always.",)
    assert shown(without.tables()) == {"Mixed": ["sum"]}
    assert without.get("its.both") is None
    assert whole["its.both"].origin.formula == "its.extra"
    assert whole.remarks() == ("Said always.", "Said of its.other.")
    assert shown(whole.tables()) == {
        "Mixed": ["sum", "its.other", "extra", "again"],
        "Extra": ["what only its.other has"],
        "Of its.other": ["sum"],
        "Members": ["first", "again", "second", "again"],
    }


def test_a_part_of_a_plan_is_made_when_it_is_first_looked_at_and_once():
    made: list[str] = []

    def remarks() -> list[str]:
        made.append("made")
        return ["said"]

    plan = Plan("tiny", "A plan", (), remarks=remarks)
    assert plan.tables == ()
    assert made == []
    assert plan.remarks == plan.remarks == ("said",)
    assert made == ["made"]


def test_a_quantity_of_a_sheet_is_found_by_the_name_it_has_in_the_plan(sheet):
    own = sheet({"extra": ""}, {"its.own": pure(7).named("its.own", "given")})
    assert own.find("its.sum") is own["its.sum"]
    assert own.find("its.own") is own["its.own"]
    assert own.find("its.extra") is own.find("rental.h100") is own.find("no.such") is None


def test_a_group_of_constants_is_a_list_of_those_that_a_formula_can_name(sheet):
    """Each repeats a row as the sheet's words, the question's and the constants say; `if` leaves all out."""
    (*_, members) = sheet({"extra": "its.other"}).tables()
    assert members.about == "its.other"
    shown = [
        [str(row[0]), row[1].origin.formula if row[0] == "again" else row[1].name, row[2]]
        for row in members.rows
    ]
    assert shown == [
        ["first", "tiny.first.is", "a (first) of them"],
        ["again", "2 × tiny.first.is", "of the sheet"],
        ["second", "tiny.second.is", "another"],
        ["again", "2 × tiny.second.is", "given"],
    ]
    assert "Members" not in [each.title for each in sheet({"extra": ""}).tables()]


def test_no_law_takes_the_name_of_another():
    assert not (MARKET.keys() & SERVING.keys() | (MARKET | SERVING).keys() & TRAINING.keys())
    assert LAWS.keys() > (MARKET | SERVING | TRAINING).keys()
    assert all(LAWS[name] is law for name, law in (MARKET | SERVING | TRAINING).items())


WORDY = """
title = "A sheet of {size}"
answers = ["its.sum"]
remarks = []
[words]
size = [["its.sum > 9", "{~its.sum} and more"], ["{its.own|none} is its.own", "what was given"], ["its.sum > 1000", ""]]
[rows]
"its.sum" = ["1", "sum", "{its.own|its.other} + 1"]
"its.other" = ["1", "what is taken if nothing is given", "2"]
[tables]
Sums = [["", ""], [["of {~its.sum} and 3", "=its.sum"]]]
Sized = [["", ""], [["{size}", "=its.sum"]]]
"""


def test_a_word_may_be_a_clause_told_of_the_quantities(folder):
    """The first that holds; none that does is an empty word; and a cell may hold an amount."""
    (folder / "wordy.toml").write_text(WORDY)

    def sheet(own=None):
        return Sheet("wordy", shelf(), {}, {"its.own": pure(own)} if own else {})

    assert sheet(20.0).title() == "A sheet of 21 and more"
    assert sheet(4.0).title() == "A sheet of what was given"
    assert [table.title for table in sheet().tables()] == ["Sums"]
    assert sheet(4.0).tables()[0].rows[0][0] == "of 5 and 3"
    assert [table.title for table in sheet(4.0).tables()] == ["Sums", "Sized"]
