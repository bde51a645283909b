"""The shelf: dated vintages kept apart, the person's own on top, nothing without unit, kind and source."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from archipel.planning import checking
from archipel.planning.entries import KINDS
from archipel.planning.mistakes import CannotPlan
from archipel.planning.sampling import Draws
from archipel.planning.tables import bibliography, read_own, shelf


def test_every_constant_of_the_package_has_a_unit_a_kind_and_a_known_source() -> None:
    loaded = shelf()
    assert len(loaded.entries) > 300
    for name, vintages in loaded.entries.items():
        for entry in vintages:
            assert entry.figure.kind in KINDS, name
            assert entry.figure.source.key in bibliography(), name
            assert entry.about, f"{name} says not what it is"
            assert entry.figure.vintage, name


def test_no_name_is_both_a_constant_and_a_group() -> None:
    names = set(shelf().entries)
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            assert ".".join(parts[:depth]) not in names, name


def test_what_is_second_hand_says_so() -> None:
    for key, source in bibliography().items():
        assert source.read in ("primary", "secondary", "memory"), key
        assert source.title, key
        assert not source.url or source.url.startswith("https://"), key


def test_every_source_is_cited_by_a_figure_or_a_file() -> None:
    ours = Path(checking.__file__).parent
    folders = [*ours.iterdir(), Path(__file__).parent / "published"]
    cited = {
        key
        for folder in folders
        if folder.is_dir() and folder.name != "bibliography"
        for path in folder.glob("*.toml")
        for key in re.findall(r'"([^"\s]+)"', path.read_text("utf-8"))
    }
    code = "".join(path.read_text("utf-8") for path in ours.rglob("*.py"))
    assert not [key for key in bibliography() if key not in cited and f'"{key}"' not in code]


def test_assumptions_have_intervals_unless_they_are_definitions() -> None:
    bare = [
        name
        for name, vintages in shelf().entries.items()
        for entry in vintages
        if entry.figure.kind == "assumed" and entry.figure.exact and entry.figure.value != 0
    ]
    assert len(bare) <= 12, bare


def test_an_older_date_sees_the_older_price_and_no_later_one() -> None:
    then, now = shelf("2023-12"), shelf()
    assert then.entry("rental.h100").figure.vintage == "2023-10"
    assert now.entry("rental.h100").figure.vintage > "2025-12"
    assert len(now.vintages("rental.h100")) >= 4
    early = shelf("2019-01")
    assert early.entry("rental.h100").figure.vintage == "2023-10"
    assert early.ahead(early.entry("rental.h100").figure), "a later figure must be known as such"
    assert not then.ahead(then.entry("rental.h100").figure)


def test_a_persons_own_table_wins_and_keeps_the_rest() -> None:
    own = read_own(
        '[rental.h100]\nvalue = 1.5\nunit = "USD/(accelerator*h)"\nkind = "measured"\n'
        'source = "our invoice of March"\n',
        "mine.toml",
    )
    mine = shelf(own=own)
    assert Draws().centre(mine["rental.h100"]) == 1.5
    assert mine.entry("rental.h100").figure.source.title == "our invoice of March"
    assert mine.entry("rental.a100-80") == shelf().entry("rental.a100-80")


def test_one_constant_may_be_set_on_the_command_line() -> None:
    loaded = shelf()
    loaded.override("rental.h100=$1.25/h")
    assert Draws().centre(loaded["rental.h100"]) == 1.25
    assert "given by you" in loaded.entry("rental.h100").figure.source.title


@pytest.mark.parametrize(
    ("text", "low", "value", "high"),
    [
        ("$2.95/accelerator-hour [1.99 – 5]", 1.99, 2.95, 5.0),
        ("2 USD/(accelerator*h) [1-3]", 1.0, 2.0, 3.0),
        ("$0.002 k/h [1e-3 – .003]", 1.0, 2.0, 3.0),
    ],
)
def test_an_interval_is_set_as_it_is_printed(
    text: str, low: float, value: float, high: float
) -> None:
    loaded = shelf()
    loaded.override(f"rental.h100={text}")
    figure = loaded.entry("rental.h100").figure
    assert (figure.low, figure.value, figure.high) == pytest.approx((low, value, high))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rental.h100=$2.95/h [3 – 5]", "expected low <= value <= high"),
        ("rental.h100=$2.95/h [1 – ]", "expected a price such as"),
        ("rental.h100=2.95 USD/h [-1 – 5]", "expected more than 0"),
        ("rental.h100", "expected NAME=AMOUNT"),
        ("rental.h10=2", "did you mean 'rental.h100'"),
        ("rental.h100=5 kW", "got '5 kW'"),
    ],
)
def test_a_wrong_setting_names_the_nearest_right_one(text: str, expected: str) -> None:
    with pytest.raises(CannotPlan, match=expected):
        shelf().override(text)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("value = 1", "'unit' is missing"),
        ('value = 1\nunit = "USD"\nkind = "guessed"\nsource = "x"', "expected one of"),
        ('value = "1"\nunit = "USD"\nkind = "measured"\nsource = "x"', "expected a number"),
        ('value = true\nunit = "USD"\nkind = "measured"\nsource = "x"', "expected a number"),
        ('value = 1\nunit = "parsec"\nkind = "measured"\nsource = "x"', "unknown unit"),
        ('value = 1\nlow = 2\nhigh = 3\nunit = "USD"\nkind = "measured"\nsource = "x"', "low <= value"),
        ('value = 1\nlow = 0\nhigh = 3\nunit = "USD"\nkind = "measured"\nsource = "x"', "reaches zero"),
        ('value = 1\nlow = 0\nunit = "USD"\nkind = "measured"\nsource = "x"', "come together"),
        ('value = 1\ncolour = 2\nunit = "USD"\nkind = "measured"\nsource = "x"', "unknown key"),
        ('value = nan\nunit = "USD"\nkind = "measured"\nsource = "x"', "expected a finite number"),
        ('value = inf\nunit = "USD"\nkind = "measured"\nsource = "x"', "expected a finite number"),
        (f'value = {"9" * 401}\nunit = "USD"\nkind = "measured"\nsource = "x"', "finite number"),
        ('value = 1\nabout = 5\nunit = "USD"\nkind = "measured"\nsource = "x"', "about: got 5"),
        ('value = 1\nalso = 5\nunit = "USD"\nkind = "measured"\nsource = "x"', "expected a list"),
        ('value = 1\nalso = [{value = 3}]\nunit = "USD"\nkind = "measured"\nsource = "x"', "a list"),
        ('value = 1\nalso = [{value = "x", source = "y"}]\nunit = "USD"\nkind = "measured"\nsource = "x"',
         "expected a number"),
        ('value = 1\nunit = 5\nkind = "measured"\nsource = "x"', "unit: got 5"),
        ('value = 1\ndate = true\nunit = "USD"\nkind = "measured"\nsource = "x"', "date: got True, expected a text"),
        ('value = true\nunit = "USD"\nkind = "measured"\nsource = "x"', "got True, expected a number"),
    ],
)  # fmt: skip
def test_an_entry_that_is_not_a_constant_is_refused_by_name(row: str, expected: str) -> None:
    with pytest.raises(CannotPlan, match=expected):
        read_own(f"[my.price]\n{row}\n", "mine.toml")


def test_an_own_constant_of_another_kind_of_unit_is_refused() -> None:
    with pytest.raises(CannotPlan, match=r"rental.h100: got 'kW', expected a unit like"):
        read_own(
            '[rental.h100]\nvalue = 1\nunit = "kW"\nkind = "measured"\nsource = "x"', "mine.toml"
        )


def test_not_toml_and_not_a_date_end_as_one_sentence() -> None:
    with pytest.raises(CannotPlan, match=r"mine.toml: not TOML"):
        read_own("= 3", "mine.toml")
    with pytest.raises(CannotPlan, match="expected a date"):
        shelf("last year")


def test_tables_are_small_enough_to_read() -> None:
    for folder in ("tables", "bibliography"):
        for path in resources.files("archipel.planning").joinpath(folder).iterdir():
            if path.name.endswith(".toml"):
                assert tomllib.loads(path.read_text("utf-8")), path.name


@pytest.mark.parametrize(
    ("group", "word", "meant"),
    [
        ("accelerator", "A100", "a100-80"),
        ("accelerator", "4090", "rtx4090"),
        ("accelerator", "NVIDIA H100 SXM5 80 GB", "h100"),
        ("energy.price", "uk", "gbr"),
        ("energy.price", "Germany", "deu"),
        ("law.chinchilla", "chinchilla", "hoffmann"),
    ],
)
def test_names_are_found_by_title_and_by_what_people_type(
    group: str, word: str, meant: str
) -> None:
    assert shelf().choose(group, word, "name") == meant


def test_every_alias_leads_to_a_name_that_exists() -> None:
    loaded = shelf()
    groups = ("accelerator", "energy.price", "law.chinchilla")
    known = {name for group in groups for name in loaded.members(group)}
    aliases = {k: v for k, v in loaded.facts.items() if k.startswith("alias.")}
    assert aliases
    assert set(aliases.values()) <= known


def _row(value: str, unit: str = "USD/accelerator", more: str = "") -> str:
    return f'value = {value}\nunit = "{unit}"\nkind = "measured"\nsource = "x"\n{more}'


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("purchase.h100", _row("-5"), "expected more than 0"),
        ("purchase.h100", _row("0"), "expected more than 0"),
        ("mfu.default", _row("2", "1"), "expected a share of 0 to 1"),
        ("rental", _row("2", "USD"), "rental is a group of constants"),
        ("accelerator.h100", _row("2", "1"), "is a group of constants"),
    ],
)
def test_what_overrides_a_constant_keeps_its_sign_and_its_meaning(
    name: str, row: str, expected: str
) -> None:
    with pytest.raises(CannotPlan, match=expected):
        read_own(f"[{name}]\n{row}", "mine.toml")


@pytest.mark.parametrize("text", ["purchase.h100=-5", "purchase.h100=0", "mfu.default=2"])
def test_a_setting_that_cannot_be_is_refused_as_a_table_would_be(text: str) -> None:
    with pytest.raises(CannotPlan, match="expected"):
        shelf().override(text)


def test_texts_lose_what_a_terminal_would_obey() -> None:
    row = _row("1", more='about = "red \\u001b[31m alert\\nforged: line"')
    own = read_own(f"[purchase.h100]\n{row}", "mine.toml")
    about = shelf(own=own).entry("purchase.h100").about
    assert "\x1b" not in about
    assert "\n" not in about


@pytest.mark.parametrize(
    "text", ["a." * 3000 + "b = 1", "a = " + "[" * 3000 + "]" * 3000, "x = " + "1" * 5001]
)
def test_a_table_of_absurd_form_ends_as_one_sentence(text: str) -> None:
    with pytest.raises(CannotPlan, match=r"mine.toml"):
        read_own(text, "mine.toml")


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert read_own("\ufeff[purchase.h100]\n" + _row("1"), "mine.toml")


def test_a_price_an_hour_is_that_of_one_accelerator() -> None:
    own = read_own("[rental.h100]\n" + _row("2", "USD/h"), "mine.toml")
    assert shelf(own=own).entry("rental.h100").unit == "USD/(accelerator*h)"
