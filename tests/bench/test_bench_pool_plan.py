"""The bench of pools shows where the published planner fails, and that ours does not."""

import json

import pytest
from click.testing import CliRunner

from archipel.bench import pool_plan, pool_published
from archipel.bench.pool_plan import Size, rows, summary, table, wrong
from archipel.bench.pool_published import Node, Raises, TooMany, published
from archipel.cli.bench_pool_plan import command


def nodes(*caps: int, first: int = 0, last: int = 0, power: float = 1.0) -> list[Node]:
    return [Node(cap, cap - first, cap - last, power) for cap in caps]


def silent(text: str) -> None:
    """Nobody listens."""


def test_the_published_planner_does_what_its_makers_test() -> None:
    """Their own figures: two pipelines of three rather than one of two; layers by power within capacity."""
    found = published(nodes(40, 40, 20, 20, 10, 10), 70)
    assert [sorted(members) for members, _ in found] == [[0, 2, 4], [1, 3, 5]]
    found = published(nodes(13, 13, 6, 6, 3, 3), 22)
    assert sorted(counts for _, counts in found) == [[13, 6, 3], [13, 6, 3]]
    assert published(nodes(13, 5, 3), 21) == [([0, 1, 2], [13, 5, 3])]
    assert published(nodes(6, 6), 8) == [([0, 1], [4, 4])]
    assert published(nodes(4, 4), 9) == []


def test_it_fails_where_the_ends_are_charged_to_others_than_it_counted_on() -> None:
    """The head costs the node that closes no layer, and the one that comes to be last one."""
    pool = [Node(5, 5, 4, 1.0), Node(13, 12, 13, 1.0), Node(7, 7, 7, 1.0)]
    with pytest.raises(Raises, match="total capacity 23 is less than total layers 25"):
        published(pool, 25)


def test_its_states_grow_beyond_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_published, "MAX_STATES", 500)
    with pytest.raises(TooMany, match="500 states for 20 nodes"):
        published(nodes(*range(5, 25)), 60)


def test_every_feasible_pool_is_planned_and_a_seed_draws_the_same_ones() -> None:
    size = Size(24, (4, 8), 12)
    found, again = (list(rows(size, 3, silent)) for _ in range(2))
    assert [(r.theirs, r.token_ratio) for r in found] == [(r.theirs, r.token_ratio) for r in again]
    assert wrong(found) == 0
    told = summary(size, found)
    assert told["ours_planned"]["share"] == 1.0
    assert sum(told["theirs_on_feasible"].values()) == told["feasible"] > 5
    assert all(row.token_ratio >= 1 - 1e-9 for row in found if row.token_ratio and row.ours)
    assert "24 layers, 4-8 devices" in table([told])


def test_the_command_prints_what_there_is_and_names_a_lost_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_plan, "QUICK", (Size(24, (4, 6), 3), Size(12, (3, 3), 1, True)))
    ran = CliRunner().invoke(command, ["--quick", "--json"])
    assert ran.exit_code == 0, ran.output
    assert len(json.loads(ran.stdout)["sizes"]) == 2
    shown = CliRunner().invoke(command, ["--quick"])
    assert "token time" in shown.stdout
    monkeypatch.setattr(pool_plan, "most_layers", lambda *_: 0)
    assert CliRunner().invoke(command, ["--quick"]).exit_code != 0
