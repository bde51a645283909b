"""A scenario played: providers drawn, their world run, its outcome; one world a seed.

Parts: `play` (all seeds), `ready` (what a scenario's world stands on). Whoever stops it keeps what there is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archipel.planning.tables import Shelf
from archipel.simulation import words
from archipel.simulation.inputs import Input, Inputs
from archipel.simulation.machines import kind_of
from archipel.simulation.outcome import Outcome, outcome_of
from archipel.simulation.providers import drawn, habits_of
from archipel.simulation.scenario import Scenario
from archipel.simulation.setting import Setting, setting_of
from archipel.simulation.world import World

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Played:
    """One seed of a scenario."""

    scenario: Scenario
    seed: int
    setting: Setting
    outcome: Outcome
    inputs: tuple[Input, ...]
    is_whole: bool
    """Whether it came to the end of its time."""


def ready(scenario: Scenario, shelf: Shelf, seed: int) -> tuple[World, Inputs]:
    """The world of one seed, before anything happens, and the figures that it was drawn from.

    Raises:
        CannotSimulate: no machine of the crowd holds the policy. CannotPlan: a figure is missing.
    """
    inputs = Inputs(shelf)
    shares = inputs.shares("simulate.share", scenario.crowd.kinds)
    kinds = {name: kind_of(name, scenario, inputs) for name in shares}
    providers = drawn(scenario.crowd, kinds, shares, habits_of(inputs), seed)
    share = (words.audit_terms().part_milli or 1000) / 1000
    setting = setting_of(scenario, kinds, providers, share, inputs)
    return World(scenario, setting, kinds, providers, seed), inputs


def play(scenario: Scenario, shelf: Shelf, seeds: range, tell: Tell) -> Iterator[Played]:
    """A world for each seed; the one that is interrupted is handed out as far as it came, and then the interruption goes on."""
    for seed in seeds:
        world, inputs = ready(scenario, shelf, seed)
        stopped: KeyboardInterrupt | None = None
        try:
            world.run(tell)
        except KeyboardInterrupt as stop:
            stopped = stop
        used = tuple(inputs.used.values())
        yield Played(
            scenario, seed, world.setting, outcome_of(world), used, is_whole=stopped is None
        )
        if stopped is not None:
            raise stopped
