"""A real run against its own simulation."""

import copy
import dataclasses
import re

import pytest

from archipel.lab.entry import read_entry
from archipel.lab.recovery import pages
from archipel.simulation.likeness import Compared, compared
from archipel.simulation.observed import Observed, Observer, Took
from archipel.simulation.scenario import CannotSimulate
from archipel.simulation.sufficing import advice
from world import World, finish


@pytest.fixture(scope="module")
def observed() -> Observed:
    world, observer = World(), Observer(None)
    learner = world.started(versions=12)
    finish(world, learner, [world.provider("a"), world.provider("b")])
    for data in pages(world.lab.log):
        observer(read_entry(data))
    found = observer.observed(world.state)
    world.close()
    return found


def test_a_simulation_of_a_run_costs_what_the_run_did_and_makes_its_versions(
    observed: Observed,
) -> None:
    rows = {row.name: row for row in compared(observed, range(2), lambda text: None)}
    assert rows["paid"].real > 0
    assert rows["paid"].simulated == (rows["paid"].real,) * 2
    assert observed.run.version == 12
    assert sum(len(each.rollouts) for each in observed.seen.values()) >= 12


def test_how_far_off_is_by_the_mean_of_the_seeds() -> None:
    assert Compared("paid", "credits", 2.0, (2.0, 2.4)).off == pytest.approx(0.1)


def test_a_ledger_without_a_run_is_refused() -> None:
    world = World()
    with pytest.raises(CannotSimulate, match="expected one that was opened"):
        Observer(None).observed(world.state)
    world.close()


def samplers(observed: Observed) -> list[str]:
    return [did for did, seen in observed.seen.items() if seen.rollouts]


def without(observed: Observed, gone: list[str]) -> Observed:
    """These leave as soon as they have come."""
    seen = copy.deepcopy(observed.seen)
    for did in gone:
        seen[did].spells = [[joined, (joined or 0) + 1] for joined, _ in seen[did].spells]
    return dataclasses.replace(observed, seen=seen)


def test_where_the_nodes_do_not_suffice_it_is_said_how_many_more_would(
    observed: Observed,
) -> None:
    left = without(observed, samplers(observed))
    with pytest.raises(
        TimeoutError, match=r"0 nodes that sampled .* bring 0: [1-9]\d* more nodes? of"
    ):
        compared(left, range(1), lambda text: None)


def test_so_many_more_bring_what_is_missing_and_one_fewer_does_not(observed: Observed) -> None:
    first, *others = samplers(observed)
    seen = copy.deepcopy(observed.seen)
    hours = (observed.ended_at_ms - observed.run.version_0_at_ms) / 3.6e6
    pace = observed.run.opened.pace
    assert pace.programme == "rl"
    wanted = observed.run.version * pace.groups_per_update / hours
    for did in (first, *others):
        seen[did].rollouts = [Took(1, 3.6e6 / (wanted / 3.5), 1)]
    known = without(dataclasses.replace(observed, seen=seen), others)
    begun = dataclasses.replace(observed.run, chain=())
    said = advice(known, begun, observed.ended_at_ms)
    assert "1 node that sampled in the real run is there" in said
    found = re.search(r"(\d+) more nodes of", said)
    assert found is not None
    assert int(found[1]) == 3, "3.5 nodes are needed, one is there"
    many = dataclasses.replace(known, seen={**seen, first: copy.deepcopy(seen[first])})
    many.seen[first].rollouts = [Took(1, 3.6e6 / (wanted * 1.1), 1)]
    assert "they would suffice, so something else" in advice(many, begun, observed.ended_at_ms)
