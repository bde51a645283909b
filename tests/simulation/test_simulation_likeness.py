"""A real run against its own simulation."""

import pytest

from archipel.lab.entry import read_entry
from archipel.lab.recovery import pages
from archipel.simulation.likeness import Compared, compared
from archipel.simulation.observed import Observed, Observer
from archipel.simulation.scenario import CannotSimulate
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
