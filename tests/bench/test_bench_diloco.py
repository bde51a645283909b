"""Ways of training across sites: where two must be the same they are, and bytes are those of payloads."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from archipel.bench.diloco import Found, Row, measure
from archipel.bench.diloco_ground import Ground, ground_of
from archipel.bench.diloco_links import LADDER, codecs_for, inner_steps_waited, links_of
from archipel.bench.diloco_members import Ran, Side, merged, train
from archipel.bench.diloco_plan import Budget, Plan, Way, ways
from archipel.bench.diloco_report import draw, frontier, lines_of, table, to_json
from archipel.bench.diloco_text import Feed, Text, TooShort, own_text
from archipel.training.exchange import CodecTerms, codec_of
from archipel.training.merging.merge import merge
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms

TEXT = Text("letters", bytes(np.random.default_rng(0).integers(97, 123, 4000, np.uint8)))
BUDGET = Budget(
    members=2, steps=8, batch=2, sequence_length=16, start_steps=2, warmup_steps=2, held_out=8
)
INNER = Way("DiLoCo", "exchange", 4e-3, every=4)
TOP = CodecTerms("top_k", 64, 0.95)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return ground_of(TEXT, "50k", 0, BUDGET, tmp_path_factory.mktemp("ground") / "start")


def ran(ground: Ground, way: Way) -> Ran:
    return train(ground, way, lambda line: None)


def same(one: Ran, other: Ran) -> bool:
    return all(np.array_equal(each, other.weights[name]) for name, each in one.weights.items())


@pytest.fixture(scope="module")
def exchanged(ground: Ground) -> Ran:
    return ran(ground, INNER)


def test_streaming_of_one_fragment_without_delay_is_diloco(ground: Ground, exchanged: Ran) -> None:
    streamed = ran(ground, replace(INNER, kind="streaming"))
    assert same(streamed, exchanged)
    assert (streamed.up, streamed.down) == (exchanged.up, exchanged.down)


def test_one_member_that_keeps_its_own_steps_is_one_machine(ground: Ground) -> None:
    alone = replace(ground, budget=replace(BUDGET, members=1))
    own = ran(alone, replace(INNER, outer_rate=1.0, outer_momentum=0.0))
    assert same(own, ran(alone, replace(INNER, kind="alone")))
    assert not same(own, ran(alone, replace(INNER, kind="alone", rate=2e-3)))


def test_bytes_are_of_payloads_and_as_many_fewer_as_steps_between_exchanges(
    ground: Ground, exchanged: Ran
) -> None:
    synchronous = ran(ground, replace(INNER, kind="synchronous"))
    assert [a / b for a, b in zip(synchronous.up, exchanged.up, strict=True)] == [4, 4]
    sparse = ran(ground, replace(INNER, codec=TOP))
    assert sparse.up == (2 * codec_of(TOP).size(ground.shapes),) * 2
    # With two members, the other's payload is what comes down, where it is less than the version.
    assert sparse.down == sparse.up
    assert exchanged.tokens == synchronous.tokens == BUDGET.tokens


def test_what_is_merged_is_what_a_run_would_merge(ground: Ground) -> None:
    generator = np.random.default_rng(1)
    sides = [Side(index, ground.member(INNER, 8, 2), TOP) for index in range(3)]
    deltas = [
        {
            name: generator.normal(size=shape).astype(np.float32)
            for name, shape in ground.shapes.items()
        }
        for _ in sides
    ]
    opened = [side.send(delta, 4) for side, delta in zip(sides, deltas, strict=True)]
    terms = MergeTerms(TOP, OuterTerms("nesterov", INNER.outer_rate, INNER.outer_momentum))
    theirs = merge(ground.start, {}, [each.contribution for each in opened], terms)
    weights, memory = merged(ground.start, {}, opened, INNER)
    assert all(np.array_equal(weights[name], theirs.weights[name]) for name in theirs.weights)
    assert all(np.array_equal(memory[name], theirs.memory[name]) for name in theirs.memory)


def test_streaming_sends_every_weight_as_often_as_diloco(ground: Ground, exchanged: Ran) -> None:
    streamed = ran(ground, replace(INNER, kind="streaming", fragments=2, delay=1, mixing=0.5))
    header = codec_of(CodecTerms("float32")).size({"a": (1,)}) - 4
    assert streamed.up[0] - exchanged.up[0] == 2 * header
    assert streamed.exchanges == 2 * exchanged.exchanges
    assert streamed.tokens == exchanged.tokens


class Told(Feed):
    """Remembers which windows were asked for."""

    def __init__(self) -> None:
        super().__init__(TEXT, BUDGET.sequence_length, 0)
        self.asked: list[int] = []

    def windows(self, first: int, num: int):  # type: ignore[no-untyped-def]
        self.asked += range(first, first + num)
        return super().windows(first, num)


@pytest.mark.parametrize("kind", ["synchronous", "alone", "exchange", "streaming"])
def test_every_way_learns_from_the_same_windows_once(ground: Ground, kind: str) -> None:
    feed = Told()
    ran(replace(ground, feed=feed), replace(INNER, kind=kind))  # type: ignore[arg-type]
    assert sorted(feed.asked) == list(range(4, 4 + 8 * 2 * 2))


def test_windows_are_permuted_by_seed_and_epoch_and_never_held_out() -> None:
    feed, other = Feed(TEXT, 16, 0), Feed(TEXT, 16, 1)
    per_epoch = (3600 - 1) // 16
    first, _ = feed.windows(0, per_epoch)
    second, _ = feed.windows(per_epoch, per_epoch)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other.windows(0, per_epoch)[0])
    assert sorted(map(tuple, first)) == sorted(map(tuple, second))
    learned = b"".join(bytes(row[:-1].astype(np.uint8)) for row in sorted_by_place(first))
    assert learned == TEXT.data[: per_epoch * 16]
    held, documents = TEXT.held_out(16, 8)
    assert bytes(held[0].astype(np.uint8)) == TEXT.data[3600:3617]
    assert not documents.any()
    with pytest.raises(TooShort, match="holds out 24 windows, expected at least 25"):
        TEXT.held_out(16, 25)
    assert len(own_text().data) > 1_000_000


def sorted_by_place(rows: np.ndarray) -> list[np.ndarray]:
    return sorted(rows, key=lambda row: TEXT.data.index(bytes(row.astype(np.uint8))))


def test_a_slow_link_is_given_the_richest_codec_that_fits_it(ground: Ground) -> None:
    shapes, whole = ground.shapes, codec_of(LADDER[0]).size(ground.shapes)
    way = replace(INNER, every=30, codec=CodecTerms("int8"))
    assert codecs_for(way, 4, shapes) == (CodecTerms("int8"),) * 4
    for kind in ("slow", "slow up"):
        links, chosen = links_of(kind, 4), codecs_for(replace(way, links=kind), 4, shapes)
        slowest = min(link.down for link in links)
        for link, codec in zip(links, chosen, strict=True):
            copies = codec_of(codec).size(shapes) / whole
            assert copies <= 30 * link.up
            assert 3 * copies <= 30 * slowest
            if codec != LADDER[0]:
                richer = codec_of(LADDER[LADDER.index(codec) - 1]).size(shapes) / whole
                assert richer > 30 * link.up or 3 * richer > 30 * slowest
    up = codecs_for(replace(way, links="slow up"), 4, shapes)
    assert LADDER.index(up[3]) > LADDER.index(up[0])


def test_members_of_one_run_may_send_with_different_codecs(ground: Ground) -> None:
    found = ran(ground, replace(INNER, links="slow up", every=8))
    assert len(set(found.codecs)) == 2
    assert found.up[1] < found.up[0]
    assert math.isfinite(ground.nats(found.weights))


def test_everybody_waits_for_the_slowest() -> None:
    equal = inner_steps_waited((30, 30), (30, 30), 30, "equal")
    assert equal == pytest.approx(6)
    assert inner_steps_waited((30, 30), (30, 30), 30, "slow") == pytest.approx(100 * equal)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    plan = Plan(BUDGET, ("50k",), (0,), ("data parallel", "DiLoCo"))
    lines: list[str] = []
    rows = measure(plan, TEXT, tmp_path, lines.append, lambda row: None)
    assert [row.way.name for row in rows] == ["data parallel", "DiLoCo"]
    assert lines
    told = len(lines)
    assert measure(plan, TEXT, tmp_path, lines.append, lambda row: None) == rows
    assert len(lines) == told
    further = replace(plan, names=("DiLoCo int8",))
    # Begun from the weights that were kept, not from new ones.
    (row,) = measure(further, TEXT, tmp_path, lines.append, lambda row: None)
    assert row.found.start_nats == rows[0].found.start_nats


def row(name: str, kind: str, nats: float, up: int, seed: int = 0) -> Row:
    found = Found(nats, 3.0, 100, 1, 30, (up,), (up,), ("float32",), 1.0)
    return Row("50k", seed, Way(name, kind, 1e-3), found)  # type: ignore[arg-type]


ROWS = [
    row("all", "synchronous", 2.0, 6000),
    row("all", "synchronous", 1.0, 6000, 1),
    row("some", "exchange", 2.2, 200),
    row("some", "exchange", 1.1, 200, 1),
    row("less", "exchange", 2.1, 100),
    row("alone", "alone", 1.9, 0),
]


def test_ratios_are_to_synchronous_training_of_the_same_seed() -> None:
    lines = {line.way: line for line in lines_of(ROWS, BUDGET)}
    assert lines["some"].ratio.mean == pytest.approx(1.1)
    assert lines["some"].ratio.half_width == pytest.approx(0)
    assert lines["some"].fewer_up == 30
    assert math.isinf(lines["alone"].fewer_up)
    assert [line.way for line in frontier([lines["some"], lines["less"]])] == ["less"]
    assert [line.way for line in frontier([lines["all"], lines["less"]])] == ["all", "less"]
    assert "1.1000 [1.1000, 1.1000]" in table(ROWS, BUDGET)
    json = to_json(ROWS, BUDGET, "x")["lines"]
    assert [line["fewer_up"] for line in json] == [1, 30, 60, None]


@pytest.mark.slow
def test_loss_over_bytes_is_drawn_where_there_are_ratios(tmp_path: Path) -> None:
    draw(ROWS, BUDGET, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(ValueError, match="nothing was measured beside"):
        draw(ROWS[2:3], BUDGET, tmp_path / "y.png")


def test_a_way_that_is_none_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ValueError, match="got the way 'x', expected one of: data parallel; "):
        Plan(names=("x",))
    with pytest.raises(ValueError, match="multiple of 30"):
        Plan(Budget(steps=45))
    assert {way.name for way in ways("3M")} == {way.name for way in ways("50k")}


def test_the_command_prints_what_it_has(tmp_path: Path) -> None:
    from archipel.cli.bench_diloco import command

    file = tmp_path / "text"
    file.write_bytes(TEXT.data * 20)
    asked = [
        "--quick",
        "--text",
        str(file),
        "--seeds",
        "1",
        "--steps",
        "2",
        "--way",
        "data parallel",
    ]
    found = CliRunner().invoke(command, ["--quick", *asked, "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert "data parallel" in found.stdout
    assert "1.0000" in found.stdout
