"""What people read of who works and who waits."""

from archipel.cli.following import News, line
from archipel.cli.node_status import _place
from archipel.cli.run_words import capacity_words, place_words
from archipel.records.capacity import CapacityView, PlaceView
from archipel.records.documents import RunView

SEEN = CapacityView(
    wanted_per_s=12.345,
    brought_per_s=13.0,
    target=0.95,
    binds=True,
    active=3,
    standby=1,
    reasons={"of the cheapest set that suffices": 3, "the cheaper ones suffice": 1},
)

RUN = RunView(
    run="sums", programme="rl", phase="running", version=3, versions=9, recipe="sha256:" + "0" * 64,
    opened_at_ms=0, published_at_ms=(), learner_utilisation=0.5, reward=None, rewards=(), evaluations=(),
    spent_micro=0, progress={},
)  # fmt: skip


def test_a_run_says_what_is_wanted_and_brought_and_why_others_wait() -> None:
    assert capacity_words(None) == []
    (words,) = capacity_words(SEEN)
    assert words == (
        "12.3 rollouts/s wanted, 13 brought by 3 nodes, to keep the learner busy 95% of the time; 1 on standby: "
        "of the cheapest set that suffices: 3; the cheaper ones suffice: 1"
    )
    free = SEEN.model_copy(update={"binds": False, "active": 1})
    assert (
        "by 1 node, to keep the learner busy 95% of the time; 1 more at work"
        in capacity_words(free)[0]
    )


def test_a_node_says_what_it_is_to_each_run() -> None:
    place = PlaceView(run="sums", is_active=False, waits=True, why="the cheaper ones suffice")
    assert place_words(place) == "sums: standby, the cheaper ones suffice"
    works = place.model_copy(update={"waits": False})
    assert place_words(works) == "sums: works, the cheaper ones suffice"
    assert _place(place.model_dump(mode="json")) == place_words(place)


def test_a_node_in_a_market_says_what_it_asked_and_what_is_paid() -> None:
    place = PlaceView(
        run="sums", is_active=False, waits=True, why="not bought", ask_micro=2_500_000
    )
    words = place_words(place)
    assert words.endswith(
        "asked 2.500000 credits a million tokens, its last round bought none of it"
    )
    wanted = place.model_copy(update={"award_micro": 3_000_000})
    assert place_words(wanted).endswith("asked 2.500000 credits a million tokens, is paid 3.000000")


def test_a_file_is_told_who_works_when_a_version_finds_it_changed() -> None:
    news = News()
    run = RUN.model_copy(update={"capacity": SEEN})
    assert [each["event"] for each in news.capacity(run)] == ["capacity"]
    more = run.model_copy(update={"capacity": SEEN.model_copy(update={"active": 4})})
    assert not list(news.capacity(more)), "once a version at most"
    later = more.model_copy(update={"version": run.version + 1})
    (event,) = news.capacity(later)
    assert line(event) == f"sums capacity {later.version}: {capacity_words(later.capacity)[0]}"
    assert event["active"] == 4
    again = later.model_copy(update={"version": later.version + 1})
    assert not list(news.capacity(again)), "nothing has changed"
