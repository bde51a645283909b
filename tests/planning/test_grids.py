"""The grid of a plan: one country's own constants, or several by their shares."""

import pytest

from archipel.planning.mistakes import CannotPlan, Conflict, Impossible, UnknownName
from archipel.planning.questions.grids import grid_of
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf
from planning.asked import constant


def test_a_mix_is_the_mean_of_its_countries_by_their_shares_whatever_these_add_up_to():
    found = grid_of("usa=3, France=1", shelf())
    assert found.country == "mix"
    for of in ("price", "carbon"):
        mean = 0.75 * constant(f"energy.{of}.usa") + 0.25 * constant(f"energy.{of}.fra")
        mixed = found.given[f"energy.{of}.mix"]
        assert Draws().centre(mixed) == pytest.approx(mean)
        assert {each.name for each in mixed.parents for each in each.parents if each.name} == {
            f"energy.{of}.usa", f"energy.{of}.fra",
        }  # fmt: skip
    assert found.words == {"energy.country.mix.title": "75% United States, 25% France"}


def test_one_country_is_the_tables_own():
    found = grid_of("fra", shelf())
    assert (found.country, found.given, found.words) == ("fra", {}, {})


@pytest.mark.parametrize(
    ("written", "mistake", "words"),
    [
        ("usa,fra", CannotPlan, "with its share"),
        ("usa=0.5,atlantis=0.5", UnknownName, "atlantis"),
        ("usa=1,usa=2", Conflict, "twice"),
        ("usa=1,fra=0", Impossible, "above 0"),
        ("usa=1,fra=much", CannotPlan, "--country fra"),
        ("fra=1," * 13, Impossible, "at most 12"),
        ("", UnknownName, "country"),
        ("chl", UnknownName, "'chn'"),
    ],
)
def test_a_mix_that_cannot_be_says_what_to_change(written, mistake, words):
    with pytest.raises(mistake, match=words):
        grid_of(written, shelf(), ("price", "carbon"))
