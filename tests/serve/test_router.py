"""Several specialists behind one name: whose a question is, and what a new one changes."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archipel.serve.cascade.heads import Floats
from archipel.serve.cascade.hidden import hidden_of
from archipel.serve.question import NotOffered, Question, Said, Settings
from archipel.serve.router.router import Router
from archipel.serve.router.routes import (
    BadRoutes,
    Routes,
    parse_routes,
    read_routes,
    topics_of,
    trained,
    with_topic,
    write_routes,
)
from archipel.serve.router.topics import TooFewExamples, choose
from archipel.serve.served import Served
from archipel.serve.texts import Weighing
from serve.served_models import NOW, served, tiny_model
from serve.test_cascade import Large

WIDTH, BASE = 24, "a" * 64


def cluster(number: int, count: int, seed: int = 0) -> Floats:
    """Hidden states of one topic: around a place of their own, spread in directions of their own."""
    places = np.random.default_rng(99).normal(size=(20, WIDTH)) * 3
    draw = np.random.default_rng([number, seed])
    mixing = np.random.default_rng([7, number]).normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
    return places[number] + draw.normal(size=(count, WIDTH)) @ mixing


def routes(*numbers: int) -> Routes:
    return trained(BASE, {f"t{n}": cluster(n, 80) for n in numbers})


def chosen(held: Routes, hidden: Floats) -> list[str | None]:
    coordinates = held.space.space().of(hidden)
    return [choose(topics_of(held), each)[0] for each in coordinates]


def test_fresh_questions_of_each_topic_find_their_specialist() -> None:
    held = routes(0, 1, 2, 3)
    for number in range(4):
        found = chosen(held, cluster(number, 200, seed=1))
        assert found.count(f"t{number}") >= 180
        assert set(found) <= {f"t{number}", None}


def test_topics_that_nobody_knows_fall_to_the_generalist() -> None:
    held = routes(0, 1, 2, 3)
    for number in (7, 8, 9):
        assert chosen(held, cluster(number, 200, seed=1)).count(None) >= 190


def test_one_more_specialist_changes_no_others_score_by_a_bit() -> None:
    before = routes(0, 1, 2)
    after = with_topic(before, "t3", cluster(3, 80))
    coordinates = before.space.space().of(cluster(1, 50, seed=2))
    assert (after.space.space().of(cluster(1, 50, seed=2)) == coordinates).all()
    for old, new in zip(topics_of(before), topics_of(after), strict=False):
        assert old.name == new.name
        assert (old.scores(coordinates) == new.scores(coordinates)).all()
    assert chosen(before, cluster(3, 100, seed=1)).count("t3") == 0
    assert chosen(after, cluster(3, 100, seed=1)).count("t3") >= 85


def test_a_specialist_may_be_trained_anew_and_stays_one() -> None:
    held = with_topic(routes(0, 1), "t1", cluster(5, 80))
    assert [each.name for each in held.topics] == ["t0", "t1"]
    assert chosen(held, cluster(5, 50, seed=1)).count("t1") >= 40


def test_scores_are_log_ratios_of_gaussian_densities() -> None:
    held = routes(0, 1)
    topic, coordinates = topics_of(held)[0], held.space.space().of(cluster(0, 5, seed=3))
    covariance = np.linalg.inv(topic.root @ topic.root.T)
    off = coordinates - topic.mean
    own = -0.5 * (np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off))
    own -= 0.5 * np.linalg.slogdet(covariance)[1]
    background = -0.5 * (coordinates**2).sum(axis=1)
    assert topic.scores(coordinates) == pytest.approx(own - background)


def test_few_examples_or_flat_ones_are_told_or_borne() -> None:
    with pytest.raises(TooFewExamples, match="t0 has 3 examples"):
        trained(BASE, {"t0": cluster(0, 3), "t1": cluster(1, 30)})
    flat = trained(BASE, {"t0": np.ones((20, WIDTH)), "t1": cluster(1, 20)})
    assert np.isfinite(topics_of(flat)[0].scores(flat.space.space().of(np.ones((1, WIDTH))))).all()


def test_routes_come_back_as_they_were_written_and_only_for_their_base(tmp_path: Path) -> None:
    held = routes(0, 1)
    write_routes(tmp_path / "r.json", held)
    back = read_routes(tmp_path / "r.json", BASE, WIDTH)
    assert back == held
    fresh = cluster(0, 30, seed=4)
    assert chosen(back, fresh) == chosen(held, fresh)
    for base, width in ((BASE, WIDTH + 1), ("b" * 64, WIDTH)):
        with pytest.raises(BadRoutes, match="train again"):
            read_routes(tmp_path / "r.json", base, width)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.replace('"name":"t1"', '"name":"t0"'), "one name"),
        (lambda told: told.replace('"spreads":[', '"spreads":[1.0,'), "components"),
        (lambda told: told.replace('"reach":', '"rich":'), "reach"),
        (lambda told: told[:-3], "document"),
    ],
)
def test_a_file_that_holds_no_routes_is_refused_by_its_field(
    change: Callable[[str], str], said: str
) -> None:
    with pytest.raises(BadRoutes, match=said):
        parse_routes(change(routes(0, 1).model_dump_json()).encode(), "r.json")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = served(tiny_model(tmp_path_factory.mktemp("router") / "base"), "base")
    yield one
    one.desk.close()


TOPICS = {"digits": "1234567890", "capitals": "ABCDEFGHIJK"}


def _question(letters: str, number: int) -> Question:
    draw = np.random.default_rng(number)
    text = "".join(draw.choice(list(letters), size=12))
    return Question("many", Settings(max_new_tokens=3, temperature=0.0), text=text)


def test_each_question_is_asked_of_one_and_counted(base: Served) -> None:
    async def states(letters: str, first: int, count: int) -> Floats:
        rows = [
            await hidden_of(base, _question(letters, n), "k", NOW)
            for n in range(first, first + count)
        ]
        return np.stack(rows)

    async def all_of_it() -> None:
        held = trained("a" * 64, {name: await states(of, 0, 24) for name, of in TOPICS.items()})
        specialists = {name: Large(name) for name in TOPICS}
        router = Router("many", base, specialists, held)
        for name, letters in TOPICS.items():
            for number in range(100, 105):
                answer = await router.ask(_question(letters, number), "k", NOW)
                told = [each.text async for each in answer.told() if isinstance(each, Said)]
                assert told == ["LAR", "GE"]
            assert [each.model for each in specialists[name].asked] == [name] * 5
        unknown = _question("~^{}|", 0)
        answer = await router.ask(unknown, "k", NOW)
        alone = await base.ask(unknown, "k", NOW)
        assert [each async for each in answer.told()] == [each async for each in alone.told()]
        counts = router.counts()
        assert (counts["routed_to_specialists"], counts["routed_to_generalist"]) == (10, 1)
        assert router.tally == {"digits": 5, "capitals": 5, "generalist": 1}
        text = await router.embed("12345", "k")
        assert text == await base.embed("12345", "k")
        weighing = Weighing(unknown, ("a", "b"))
        assert await router.weigh(weighing, "k", NOW) == await base.weigh(
            replace(weighing, question=replace(unknown, model=base.name)), "k", NOW
        )
        with pytest.raises(NotOffered, match="weighs no answers"):
            await router.weigh(Weighing(_question(TOPICS["digits"], 101), ("a", "b")), "k", NOW)
        long = replace(unknown, text="1" * (base.positions + 1))
        assert await router.routed(long, "k", NOW) is None

    asyncio.run(all_of_it())
