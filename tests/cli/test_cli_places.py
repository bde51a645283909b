"""What people read of who works and who waits."""

from archipel.cli.node_status import _place
from archipel.cli.run_words import capacity_words, place_words
from archipel.records.capacity import CapacityView, PlaceView

SEEN = CapacityView(
    wanted_per_s=12.345,
    brought_per_s=13.0,
    target=0.95,
    binds=True,
    active=3,
    standby=1,
    reasons={"of the cheapest set that suffices": 3, "the cheaper ones suffice": 1},
)


def test_a_run_says_what_is_wanted_and_brought_and_why_others_wait() -> None:
    assert capacity_words(None) == []
    (words,) = capacity_words(SEEN)
    assert words == (
        "12.3 rollouts/s wanted, 13 brought by 3 nodes; 1 on standby (learner busy 95%): "
        "of the cheapest set that suffices: 3; the cheaper ones suffice: 1"
    )
    free = SEEN.model_copy(update={"binds": False, "active": 1})
    assert "by 1 node; 1 more at work" in capacity_words(free)[0]


def test_a_node_says_what_it_is_to_each_run() -> None:
    place = PlaceView(run="sums", is_active=False, waits=True, why="the cheaper ones suffice")
    assert place_words(place) == "sums: standby, the cheaper ones suffice"
    works = place.model_copy(update={"waits": False})
    assert place_words(works) == "sums: works, the cheaper ones suffice"
    assert _place(place.model_dump(mode="json")) == place_words(place)
