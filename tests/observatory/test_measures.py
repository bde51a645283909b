"""Measures: what their definitions say, worked out by hand on small snapshots; unknown stays unknown."""

from pathlib import Path

import pytest

from archipel.observatory.checking import Checked, check, published
from archipel.observatory.differing import difference
from archipel.observatory.folder import read
from archipel.observatory.headlines import headlines
from archipel.observatory.measures.measure import Asked, CannotAsk, Measure
from archipel.observatory.measures.sizes import size_class
from archipel.observatory.measures.table import MEASURES, newest_of, take
from archipel.observatory.rows import UNKNOWN, Row
from archipel.observatory.seeds import shipped
from observed import count, graded, maker, model, place, score, snapshot, told, withdrawn

B = 10**9
SEED = read(shipped()[-1])


def taken(name: str, *rows: Row, **asked: object) -> Measure:
    return take(name, snapshot(*rows), Asked(**asked))  # type: ignore[arg-type]


def lines(measure: Measure) -> dict[str, float | None]:
    return {each.label: each.value for each in measure.lines}


MAKERS = (maker("a", "US"), maker("b", "CN"), maker("c", UNKNOWN))


def test_adoption_counts_the_newest_count_of_each_model_once() -> None:
    rows = (*MAKERS, model("m"), model("n", ("b",)), model("o", ("c",)))
    counts = (count("m", 999, "2026-01-01"), count("m", 10), count("n", 30), count("o", 60))
    found = taken("adoption/1", *rows, *counts)
    assert lines(found) == {"CN": 0.3, "US": 0.1, UNKNOWN: 0.6}
    assert list(lines(found))[-1] == UNKNOWN
    assert found.value == 0.3
    assert lines(taken("downloads/1", *rows, *counts)) == pytest.approx(
        {"CN": 30, "US": 10, UNKNOWN: 60}
    )
    assert "counts:downloads_all:m:2026-01-01" not in found.rows


def test_a_model_of_several_countries_belongs_to_none_of_them() -> None:
    rows = (*MAKERS, model("m", ("a", "b")), model("n", ("a", "c")), model("o", ()))
    found = taken("adoption/1", *rows, count("m", 1), count("n", 1), count("o", 2))
    assert lines(found) == {"several": 0.25, UNKNOWN: 0.75}


def test_openness_weighs_and_says_what_it_leaves_out() -> None:
    rows = (*MAKERS, model("m"), model("n", ("b",)), model("o", ("b",)))
    counts = (count("m", 30), count("n", 30), count("o", 40))
    found = taken("adoption_open/1", *rows, *counts, graded("m", "1"), graded("n", "3"))
    assert lines(found) == pytest.approx({"US": 0.75, "CN": 0.25})
    assert "40.0%" in found.left_out[0]


def test_no_size_class_weighs_more_than_another_in_the_robust_share() -> None:
    small = [model(f"s{n}", ("b",), params=7 * B) for n in range(3)]
    rows = (*MAKERS, *small, model("large", params=200 * B), model("tiny", ("b",), params=B // 2))
    counts = (*(count(each.id, 1000) for each in small), count("large", 10), count("tiny", 990))
    assert lines(taken("adoption/1", *rows, *counts))["CN"] == pytest.approx(3990 / 4000)
    found = taken("adoption_robust/1", *rows, *counts)
    assert lines(found) == {"CN": 0.5, "US": 0.5}
    assert "24.8%" in found.left_out[0]


def ten(age_value: int = 100, params: int = 7 * B) -> list[Row]:
    """Ten models with 100, 200, ... downloads at 30 days."""
    rows: list[Row] = list(MAKERS)
    for n in range(1, 11):
        rows += [model(f"m{n}", params=params), count(f"m{n}", n * age_value)]
    return rows


def test_the_first_version_divides_by_the_median_and_the_second_by_the_tenth() -> None:
    assert taken("ram/1", *ten(), model="m10").value == pytest.approx(1000 / 550)
    assert taken("ram/2", *ten(), model="m10").value == 10.0
    assert taken("ram/2", *ten(), model="m1").value == 1.0
    more = [*ten(), model("m0", params=8 * B), count("m0", 50)]
    assert taken("ram/2", *more, model="m0").value == 0.5
    assert taken("ram/1", *more, model="m10").value == pytest.approx(1000 / 550)
    assert newest_of("ram") == "ram/2"


def test_ages_and_sizes_are_not_mixed_and_nine_models_are_too_few() -> None:
    assert taken("ram/2", *ten()[:-2]).value is None
    other = [*ten()[:-2], model("x", params=12 * B), count("x", 5000)]
    assert taken("ram/2", *other).value is None, "of another size class"
    old = [*ten()[:-2], model("x", params=7 * B), count("x", 5000, "2026-03-01")]
    assert taken("ram/2", *old).value is None, "at 59 days"
    nameless = [*ten()[:-2], model("x", params=7 * B), count("x", 5000, first=UNKNOWN)]
    assert taken("ram/2", *nameless).value is None, "of unknown age"
    near = [*ten()[:-2], model("x", params=7 * B), count("x", 5000, "2026-02-02")]
    assert taken("ram/2", *near, model="x").value == 50.0, "at 32 days"
    with pytest.raises(CannotAsk, match="expected one of 7, 14"):
        taken("ram/2", *ten(), age=31)
    with pytest.raises(CannotAsk, match="no model 'y'"):
        taken("ram/2", *ten(), model="y")


def test_size_classes_touch_and_small_and_unknown_have_none() -> None:
    edges = {
        1: "1-9B",
        9.99: "1-9B",
        10: "10-30B",
        30.99: "10-30B",
        31: "31-100B",
        99.9: "31-100B",
        100: "100B+",
    }
    assert {size: size_class(int(size * B)) for size in edges} == edges
    assert size_class(B - 1) is None
    assert size_class(UNKNOWN) is None


def board() -> list[Row]:
    rows: list[Row] = [*MAKERS, model("old", access="open")]
    rows += [place("old", 1, "2025-01-01")]
    kinds = (
        ("p", "a", "closed"),
        ("q", "b", "open"),
        ("r", "c", UNKNOWN),
        ("t", "a", "restricted"),
        ("u", "b", "open"),
    )
    for rank, (name, who, access) in enumerate(kinds, 1):
        rows += [model(name, (who,), access=access), place(name, rank)]
    return rows


def test_the_first_places_of_the_newest_day_count_and_unknown_access_is_not_open() -> None:
    found = taken("top_open/1", *board(), top=5)
    assert found.value == 3.0
    assert lines(found) == {"CN": 2.0, "US": 1.0}
    assert found.left_out == ("1 of unknown access",)
    assert taken("top_open/1", *board(), top=3).value == 1.0
    assert taken("top_open/1", *board(), top=6).value is None
    assert taken("labs_ahead/1", *board()).value == 1.0
    assert lines(taken("labs/1", *board())) == {"CN": 1.0, "US": 1.0}


def test_what_a_snapshot_says_of_days_after_its_own_is_not_counted() -> None:
    days = {"last": "2026-06-01", "next": "2026-06-02", "some": UNKNOWN}
    released = [model(name, (name,), released=day) for name, day in days.items()]
    makers = [maker(name) for name in days]
    assert taken("labs/1", *makers, *released).value == 2.0
    gone = [withdrawn(name, day) for name, day in days.items() if day != UNKNOWN]
    early = [withdrawn("some", "2025-05-31")]
    assert taken("withdrawals/1", *makers, *released, *gone, *early).value == 1.0
    with pytest.raises(CannotAsk, match="no leaderboard 'x'"):
        taken("top_open/1", *board(), leaderboard="x")


def scored(name: str, day: str, value: float, access: str = "closed") -> tuple[Row, Row]:
    return model(name, released=day, access=access), score(name, value)


def test_lag_is_from_a_closed_record_to_the_first_open_model_with_its_score() -> None:
    rows = [
        maker("a"),
        *scored("c1", "2024-01-01", 0.5),
        *scored("weak", "2024-02-01", 0.4),
        *scored("c2", "2024-03-01", 0.6),
        *scored("c3", "2025-01-01", 0.9),
        *scored("o0", "2023-01-01", 0.55, "open"),
        *scored("o1", "2025-03-01", 0.6, "restricted"),
        *scored("o2", "2025-06-01", 0.7, "open"),
        *scored("nobody", UNKNOWN, 1.0, "open"),
    ]
    found = taken("lag/1", *rows, benchmark="mmlu")
    assert [each.value for each in found.lines] == [0.0, pytest.approx(365 / 30.4375), None]
    assert found.value == pytest.approx(365 / 30.4375 / 2)
    assert "not reached within 5.0 months" in found.lines[2].note
    assert found.left_out == ("1 scores of models of unknown release or access",)
    assert taken("lag/1", *rows, model="weak").value == 0.0
    with pytest.raises(CannotAsk, match="no closed model 'o1'"):
        taken("lag/1", *rows, model="o1")
    with pytest.raises(CannotAsk, match="no benchmark 'gpqa'"):
        taken("lag/1", *rows, benchmark="gpqa")


def test_concentration_is_one_for_one_and_an_nth_for_n_alike() -> None:
    rows = (*MAKERS, model("m"), model("n", ("b",)), model("o", ("c",)))
    assert taken("hhi/1", *rows, count("m", 7)).value == 1.0
    found = taken("hhi/1", *rows, count("m", 7), count("n", 7), count("o", 6))
    assert found.value == 0.5
    assert "30.0%" in found.left_out[0]
    assert taken("hhi/1", *rows, count("o", 6)).value is None


def test_disclosure_is_of_those_of_whom_somebody_says_it() -> None:
    rows = (*MAKERS, *(model(name) for name in "mnop"))
    answers = (told("m", "disclosed"), told("n", "partly"), told("o", UNKNOWN))
    assert taken("disclosure/1", *rows, *answers).value == 0.5
    weighed = taken("disclosure_downloads/1", *rows, *answers, count("m", 3), count("n", 1))
    assert weighed.value == 0.75
    assert taken("openness/1", *rows, graded("m", "1"), graded("n", "0")).value == 0.5


@pytest.mark.parametrize("name", MEASURES)
def test_of_nothing_every_figure_is_unknown_and_says_what_is_lacking(name: str) -> None:
    found = take(name, snapshot(), Asked())
    assert found.value is None
    assert len(found.says) > 10
    assert found.data()["value"] == UNKNOWN


def test_every_figure_names_its_snapshot_its_rows_and_its_flaws() -> None:
    tables = {f"{name}:{row.id}" for name, rows in SEED.tables.items() for row in rows}
    for found in headlines(SEED).values():
        assert found.snapshot == SEED.digest
        assert found.definition.flaws
        assert set(found.rows) <= tables
        assert (found.value is None) or found.rows
    assert any(each.value is not None for each in headlines(SEED).values())


def test_the_seed_gives_what_was_printed_where_it_has_the_rows_and_says_where_it_has_not() -> None:
    verdicts = {each.published.name: each.verdict for each in check(SEED)}
    assert [name for name, verdict in verdicts.items() if verdict == "agrees"] == [
        "lag-mmlu-gpt-4", "lag-gpqa-claude-3-opus", "top-15-open", "top-15-open-chinese",
    ]  # fmt: skip
    assert verdicts["labs-ahead-of-us"] == "differs"
    assert all("lacks" in each.why for each in check(SEED) if each.verdict == "cannot")


def test_a_published_figure_agrees_within_two_percent_or_at_least() -> None:
    figure = published()[0]
    for ours, verdict in (
        (1.0, "agrees"),
        (1.0199, "agrees"),
        (0.979, "differs"),
        (1.021, "differs"),
    ):
        assert Checked(figure, figure.value * ours, "", ()).verdict == verdict
    least = next(each for each in published() if each.relation == "at least")
    assert Checked(least, least.value * 3, "", ()).verdict == "agrees"
    assert Checked(least, least.value * 0.9, "", ()).verdict == "differs"


def test_a_difference_tells_rows_and_the_figures_that_moved() -> None:
    before = snapshot(*MAKERS, model("m"), model("n", ("b",)), count("m", 1), count("n", 1))
    after = snapshot(*MAKERS, model("m", access="closed"), model("o"), count("m", 1), count("o", 1))
    found = difference(before, after)
    assert {each.table: (each.added, each.removed, each.changed) for each in found.tables} == {
        "models": (("o",), ("n",), ("m",)),
        "counts": (("downloads_all:o:2026-01-31",), ("downloads_all:n:2026-01-31",), ()),
    }
    moved = {
        each.name: (each.before, each.after) for each in found.figures if each.before != each.after
    }
    assert moved["adoption/1"] == (0.5, 1.0)
    assert difference(before, before).tables == ()


def test_the_reference_page_has_every_definition_and_flaw_as_they_are() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/observatory.md").read_text("utf-8")
    for definition, _ in MEASURES.values():
        assert f"### `{definition.id}` {definition.title}" in text
        assert definition.words in text
        assert all(flaw in text for flaw in definition.flaws), definition.id
