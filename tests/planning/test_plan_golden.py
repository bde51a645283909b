"""What questions said before they were written anew, they still say: `golden/`, but for what was mended since."""

import re
from functools import cache

import numpy as np
import pytest

from archipel.planning.asking import Ask
from archipel.planning.formula import formula
from archipel.planning.laws.reliability import goodput, young_interval_h
from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import pure
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests import REQUESTS
from archipel.planning.requests.option import read_sheet
from archipel.planning.spelling import Spelled, spell_law
from archipel.planning.tables import read_own, shelf
from planning.asked import data
from planning.golden import FOLDER, SETTING, answered, differences, kept

TIERS = r"/texts/network\.tiers(@[a-z0-9-]+)?/2: "
MENDED = {
    "meek": {
        r"/texts/meek\..*/[23]": "as for a lab: letters beside a law, now its formula and what it is of",
        r"/refused: was '--(g-alg|years|c0): ": "one reader of options words every bound alike",
    },
    "claims": {
        TIERS: "as for a lab",
        r"/texts/(penalty|worth|peak|fade|research)\.": "as for a lab: letters beside a law, now its formula",
        r"/(quantities|texts)/lab\.(computing_year|ownership|hours|cost_per_hour)@": "its hour is that of plan lab",
    },
}
"""Places at which an answer may differ from the kept one, each with its reason."""
QUICK = 4
"""Of so many cases of a question one is asked by the quick tests."""
QUESTIONS = sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def found(question: str, every: int = 1) -> list[str]:
    """Every difference between the kept answers of a question, or one of so many of them, and those of today."""
    was = kept(question)
    pairs = enumerate(zip(was["cases"], was["answers"], strict=True))
    return [
        f"case {place}{line}"
        for place, (case, before) in pairs
        if place % every == 0
        for line in differences(before, answered(question, case, whole=place == 0))
    ]


@pytest.mark.parametrize("every", [QUICK, pytest.param(1, marks=pytest.mark.slow, id="all")])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_says_what_it_said_but_for_what_was_mended(question: str, every: int) -> None:
    allowed = [re.compile(rf"case \d+{place}") for place in MENDED.get(question, {})]
    lines = found(question, every)
    beyond = [line for line in lines if not any(each.match(line) for each in allowed)]
    assert not beyond, "\n".join(beyond[:20])


@pytest.mark.parametrize("question", sorted(MENDED))
def test_every_mended_place_differs(question: str) -> None:
    for place in MENDED[question]:
        assert any(re.match(rf"case \d+{place}", line) for line in found(question)), place


def test_a_row_rests_on_what_was_given_on_other_rows_and_on_constants_alone() -> None:
    """And what rests on an empty word does not exist, whatever stands between."""
    words = {"country": "usa", "draw": "gpu", "hourly": "", "group": "failures", "least": "0"}
    kind = {"kind": "h100", "priced": "kind.purchase", "h100": "", "researchers": ""}
    words |= {"chip": "gpu", "links": "server"}
    constants = shelf()
    lab = Sheet("lab", constants, words | kind, {"lab.accelerators": constants["claim.gpus"]})
    assert lab["lab.accelerators"] is constants["claim.gpus"]
    assert lab["grid.price"] is constants["energy.price.usa"]
    assert lab["lab.running"] is lab["lab.running"]
    absent = {"rent.year", "rent.total", "lab.break_even_use", "published.bom", "lab.research_cost"}
    absent |= {
        name
        for name in read_sheet("lab")["rows"]
        if name.startswith("budget.") and name != "budget.duty"
    }
    rows = {name for name in read_sheet("lab")["rows"] if "{" not in name}
    assert {name for name in rows if lab.get(name) is None} - {
        "step.owning_over_renting", "step.rented"
    } == absent  # fmt: skip


def test_every_row_of_a_sheet_is_shown() -> None:
    rows = {name for name in read_sheet("lab")["rows"] if "{" not in name}
    steps = {name for name in rows if name.startswith("step.")}
    shown = set(data("lab", kind="h100", researchers="1")["quantities"])
    shown |= set(data("lab", kind="h100", budget="1e9 USD")["quantities"])
    assert rows - steps - shown == {"budget.payroll"}


def test_a_law_is_spelled_as_it_computes() -> None:
    """Its spelling, computed again as arithmetic, gives what the law gives; what has no spelling is refused."""
    names = [Spelled("m"), Spelled("c"), Spelled("r"), Spelled("i")]
    numbers = {"m": 9.0, "c": 0.02, "r": 0.1, "i": 0.4}
    signs = {"×": "*", "−": "-", "√": "sqrt"}
    said = spell_law(goodput, names)
    for sign, python in signs.items():
        said = said.replace(sign, python)
    again = eval(said, {"max": max, "min": min, "sqrt": np.sqrt}, numbers)  # our own text
    assert again == pytest.approx(goodput(*numbers.values()))
    assert spell_law(young_interval_h, names[:2]) == "√(2 × m × c)"
    assert spell_law(lambda a, b: (a - (b - a)) / (a * b), names[:2]) == "(m − (c − m)) / (m × c)"
    for law in (lambda a: a if a > 1 else -a, lambda a: np.cumsum(a), lambda a: np.floor(a)):
        with pytest.raises(TypeError):
            spell_law(law, names[:1])


def test_an_accelerator_of_ones_own_may_have_any_name_and_title() -> None:
    """What a person calls theirs never becomes part of a formula or of a sheet's words."""
    own = read_own(
        """
        [accelerator."My GPU"]
        title = "Mine {kind} {lab.year}"
        bf16 = {value = 500, unit = "TFLOP/(s*accelerator)", kind = "assumed", source = "me"}
        server_power = {value = 900, unit = "W/accelerator", kind = "assumed", source = "me"}
        [purchase]
        "My GPU" = {value = 9000, unit = "USD/accelerator", kind = "assumed", source = "me"}
        """,
        "own.toml",
    )
    said = Ask("lab", REQUESTS["lab"](kind="My GPU"), SETTING, own).data()
    assert said["title"].startswith("A lab of 10,000 × Mine (kind) (lab.year), ")
    assert said["quantities"]["lab.price"]["from"] == ["purchase.My GPU"]


@pytest.mark.parametrize("text", ["max(a.b, 1)", "a.b^2", "3 [year] * a.b", "ln(a.b)"])
def test_a_formula_of_a_claim_has_arithmetic_alone(text: str) -> None:
    figure = pure(2.0)
    with pytest.raises(CannotPlan, match="expected names such as"):
        formula(text, lambda *_: figure, "claim")
    assert formula(text, lambda *_: figure, "sheet", LAWS).parents
