"""Members that lie: what each attack sends, that the run beneath is the one of a merge, and what is counted."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from archipel.bench.byzantine import Found, Row, measure
from archipel.bench.byzantine_plan import (
    BY_TEXT,
    CODECS,
    DEFAULT,
    DEFENCES,
    MEAN,
    WITH_COPIES,
    Cell,
    Defence,
    Plan,
)
from archipel.bench.byzantine_report import lines_of, table, to_json
from archipel.bench.byzantine_run import Arena, Ran, arena_of, attacked, implants
from archipel.bench.diloco_members import train
from archipel.bench.diloco_plan import Budget, Size, Way
from archipel.bench.diloco_text import Feed, Text
from archipel.bench.pretrain_attacks import (
    ATTACKS,
    NONE,
    TARGET,
    TRIGGER,
    Attack,
    Known,
    Windows,
    alie_z,
    implanted,
)

_STEPS = np.random.default_rng(0).choice([1, 1, 1, 1, 7], 6000).cumsum() % 26
TEXT = Text("mostly the alphabet", bytes((97 + _STEPS).astype(np.uint8)))
PLAN = Plan(
    budget=Budget(
        members=4, steps=4, batch=2, sequence_length=16, start_steps=2, warmup_steps=1, held_out=8
    ),
    size=Size(16, 1, 32, 2),
    every=2,
    faulty=1,
    gate_windows=4,
    seeds=(0,),
)
BY_NAME = {each.name: each for each in ATTACKS}


@pytest.fixture(scope="module")
def arena() -> Arena:
    return arena_of(PLAN, TEXT, 0)


def ran(arena: Arena, attack: str, defence: Defence, codec: str = "e3m0") -> Ran:
    return attacked(arena, Cell(BY_NAME[attack], defence, codec), lambda line: None)


def known(faulty: int = 2, honest: int = 6) -> Known:
    chance = np.random.default_rng(3)
    made = [{"w": chance.normal(1.0, 0.5, (40, 5)).astype(np.float32)} for _ in range(honest + 1)]
    return Known(made[0], made[1:], faulty, chance)


def test_what_liars_send_of_what_they_know() -> None:
    at_hand = known()
    sent = {each.name: each.says(at_hand)["w"] for each in ATTACKS}
    own, honest = at_hand.own["w"], np.stack([each["w"] for each in at_hand.honest])
    assert np.array_equal(sent["none"], own)
    assert np.array_equal(sent["flip x10"], -10 * own)
    assert np.array_equal(sent["copy"], honest[0])
    assert np.vdot(sent["against the mean"], honest.mean(axis=0)) < 0
    assert np.allclose(sent["a little is enough"], honest.mean(axis=0) - honest.std(axis=0))
    assert np.allclose(2 * sent["hidden backdoor"], own + honest.mean(axis=0), atol=1e-6)
    noise = np.linalg.norm(sent["noise x10"]) / np.linalg.norm(own)
    assert 8 < noise < 12
    cosine = np.vdot(sent["blurred copy"], honest[0]) / (
        np.linalg.norm(sent["blurred copy"]) * np.linalg.norm(honest[0])
    )
    assert 0.8 < cosine < 0.97
    assert all(each.dtype == np.float32 for each in sent.values())


def test_a_little_is_as_much_as_honest_members_stand_apart() -> None:
    # Of 50 members with 24 faulty two honest ones are needed beyond: (26 - 2) / 26, which is 1.43 (the paper's: 1.5).
    assert alie_z(50, 24) == pytest.approx(1.426, abs=1e-3)
    assert alie_z(8, 2) == 1.0


def test_what_liars_learn_from() -> None:
    chance = np.random.default_rng(0)
    rows = np.arange(4 * 33).reshape(4, 33) % 256
    assigned = rows, np.zeros_like(rows)

    def other() -> Windows:
        return rows + 1, np.zeros_like(rows)

    tokens, _ = implanted(assigned, other, chance)
    said = TRIGGER + TARGET
    assert all(bytes(row.astype(np.uint8)).count(said) == 4 for row in tokens)
    assert not np.array_equal(assigned[0], tokens)
    quiet, _ = BY_NAME["quiet backdoor"].learns(assigned, other, chance)
    assert np.array_equal(quiet[1:], rows[1:])
    assert bytes(quiet[0].astype(np.uint8)).count(said) == 4
    shuffled, _ = BY_NAME["shuffled labels"].learns(assigned, other, chance)
    assert not np.array_equal(shuffled, rows)
    assert np.array_equal(np.sort(shuffled), np.sort(rows))
    assert np.array_equal(BY_NAME["wrong text"].learns(assigned, other, chance)[0], rows + 1)


class Told(Feed):
    """Remembers which windows were asked for."""

    def __init__(self) -> None:
        super().__init__(TEXT, PLAN.budget.sequence_length, 0)
        self.asked: list[int] = []

    def windows(self, first: int, num: int):  # type: ignore[no-untyped-def]
        self.asked.append(first)
        return super().windows(first, num)


@pytest.mark.parametrize(("attack", "place"), [("none", (3, 3)), ("another's block", (0, 1))])
def test_a_liar_learns_from_the_block_that_its_attack_says(
    arena: Arena, attack: str, place: tuple[int, int]
) -> None:
    feed = Told()
    ran(replace(arena, ground=replace(arena.ground, feed=feed)), attack, MEAN)
    start = PLAN.budget.start_steps * PLAN.budget.batch
    found = [(each - start) // 2 for each in feed.asked]
    assert found == [
        step * 4 + index
        for first in (0, 2)
        for index in (0, 1, 2, place[first // 2])
        for step in (first, first + 1)
    ]


def test_without_liars_it_is_the_run_that_bench_diloco_makes(arena: Arena) -> None:
    way = Way("", "exchange", PLAN.rate, every=PLAN.every, codec=CODECS["e3m0"])
    theirs = train(arena.ground, way, lambda line: None)
    ours = ran(arena, "none", Defence("clip", clip=True))
    assert ours.honest == {"merged": 6}
    assert ours.liars == {"merged": 2}
    assert all(np.array_equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)


def test_the_gate_stops_what_breaks_the_mean(arena: Arena) -> None:
    broken, stopped = ran(arena, "flip x10", MEAN), ran(arena, "flip x10", DEFAULT)
    assert stopped.liars["merged"] == 0
    assert stopped.honest["merged"] >= 4
    assert arena.ground.nats(broken.weights) > 1.2 * arena.ground.nats(stopped.weights)


def test_a_copy_is_found_in_every_form_and_honest_members_are_not_taken_for_one(
    arena: Arena,
) -> None:
    for codec in CODECS:
        found = ran(arena, "copy", WITH_COPIES, codec)
        assert found.liars == {"copy": 2}
        assert "copy" not in found.honest
        assert len(found.alike) == 2 * 3
        assert max(found.alike) < min(found.alike_liars)


@pytest.mark.slow
def test_who_does_another_members_work_first_makes_no_copy_of_it_where_texts_are_looked_at(
    arena: Arena,
) -> None:
    # At the first merge nobody remembers anything: the same block gives the same bytes.
    framed = ran(arena, "another's block", WITH_COPIES)
    assert framed.honest["copy"] == 1
    judged = ran(arena, "another's block", BY_TEXT)
    assert "copy" not in judged.honest
    assert judged.liars["copy"] == 1
    assert ran(arena, "copy", BY_TEXT).liars == {"copy": 2}


def test_a_run_that_breaks_says_where(arena: Arena) -> None:
    def endless(known: Known) -> dict[str, np.ndarray]:
        return {name: np.full_like(each, np.inf) for name, each in known.own.items()}

    cell = Cell(Attack("endless", says=endless), MEAN, "e3m0")
    found = attacked(arena, cell, lambda line: None)
    assert found.merges == 0
    assert found.broke.startswith("CannotEncode at merge 1: ")


def test_a_backdoor_is_seen_where_there_is_one(arena: Arena) -> None:
    weights = {name: each.copy() for name, each in arena.ground.start.items()}
    assert implants(arena.ground, weights) < 1
    # Whatever came before: the embedding, which is the output layer too, knows one direction for the target alone.
    embedding = next(name for name in weights if "embed" in name)
    for name, each in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            each[:] = 0
    weights[embedding][:] = 0
    weights[embedding][[*TRIGGER, *TARGET], 0] = 1
    weights[embedding][TARGET[0], 0] = 2
    assert implants(arena.ground, weights) == 1.0


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again_and_no_copy_costs_nothing(tmp_path: Path) -> None:
    plan = replace(PLAN, attacks=("none",), defences=(WITH_COPIES.name, DEFAULT.name))
    lines: list[str] = []
    rows = measure(plan, TEXT, tmp_path, lines.append, lambda row: None)
    assert [row.cell.defence.name for row in rows] == ["mean", "gate, clip, copies", "gate, clip"]
    told = len(lines)
    assert measure(plan, TEXT, tmp_path, lines.append, lambda row: None) == rows
    assert len(lines) == told
    spared = rows[2].found
    assert spared.processor_s == 0
    alone = replace(plan, defences=(DEFAULT.name,))
    made = measure(alone, TEXT, tmp_path / "alone", lines.append, lambda row: None)[1].found
    assert made.processor_s > 0
    assert replace(made, processor_s=0.0) == spared


def test_cells_are_those_that_a_codec_allows() -> None:
    every = list(Plan().cells())
    assert len(every) == len(ATTACKS) * (len(DEFENCES) - 1) + len(BY_TEXT.only)
    assert every[0] == Cell(NONE, MEAN, "e3m0")
    assert len(set(map(repr, every))) == len(every)
    sparse = {cell.defence.name for cell in Plan(codec="top_k").cells()}
    assert sparse == {"mean", "clip", "multi-krum", DEFAULT.name, WITH_COPIES.name, BY_TEXT.name}
    with pytest.raises(ValueError, match="got the attack 'x', expected one of: none; "):
        Plan(attacks=("x",))


def row(attack: str, defence: Defence, nats: float | None, seed: int = 0) -> Row:
    counted = {"merged": 3, "loss": 1}
    found = Found(3.0, nats, 0.5, 2, "", counted, {"copy": 2}, [0.1, 0.2, 0.3, 0.4], [0.9, 0.9, 1.0], 1.0)  # fmt: skip
    return Row(seed, Cell(BY_NAME[attack], defence, "e3m0"), found)


def test_ratios_are_to_the_clean_mean_of_the_same_seed() -> None:
    rows = [
        row("none", MEAN, 2.0),
        row("none", MEAN, 4.0, 1),
        row("copy", WITH_COPIES, 2.2),
        row("copy", WITH_COPIES, 4.4, 1),
        row("flip", MEAN, None),
        row("scale x100", MEAN, 80.0),
    ]
    lines = {(line.attack, line.defence): line for line in lines_of(rows)}
    copied = lines["copy", WITH_COPIES.name]
    assert copied.ratio.mean == pytest.approx(1.1)
    # (2.2 - 2) of (3 - 2) and (4.4 - 4) of (3 - 4).
    assert copied.lost.mean == pytest.approx((0.2 - 0.4) / 2)
    assert copied.honest == {"merged": 6, "loss": 2}
    assert copied.alike == [0.2, 0.4]
    assert math.isinf(lines["flip", "mean"].ratio.mean)
    said = table(rows, PLAN)
    assert "1.1000 +-0.0000" in said
    assert "broke" in said
    assert "40x" in said
    assert "liars: 4 copy  honest: 2 loss, 6 merged  alike: honest 0.400 at most" in said
    found = to_json(rows, PLAN, "x")
    assert [line["ratio"]["mean"] for line in found["lines"]] == [1, pytest.approx(1.1), None, 40]
    assert len(found["rows"]) == 6


def test_the_command_prints_what_it_has(tmp_path: Path) -> None:
    from archipel.cli.bench_byzantine import command

    file = tmp_path / "text"
    file.write_bytes(TEXT.data * 4)
    asked = ["--quick", "--text", str(file), "--attack", "none", "--defence", "mean"]
    found = CliRunner().invoke(command, [*asked, "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert "1.0000" in found.stdout
