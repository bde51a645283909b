"""What those who act in a simulated world, or watch it, see of it; the world itself stands above them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from archipel.lab.state import Run
from archipel.market.dissemination import Way
from archipel.simulation.events import Events
from archipel.simulation.lab import SimulatedLab
from archipel.simulation.providers import Provider
from archipel.simulation.scenario import Scenario
from archipel.simulation.setting import Setting


@dataclass(slots=True)
class Machine:
    """A provider's node, as the world knows it."""

    provider: Provider
    is_on: bool = False
    session: int = 0
    """What was begun in an earlier one comes to nothing."""
    version: int = -1
    """The newest that it has."""
    works: tuple[str, ...] = ()
    is_waiting: bool = False


class Stage(Protocol):
    """A world, from below."""

    scenario: Scenario
    setting: Setting
    events: Events
    chance: random.Random
    lab: SimulatedLab
    way: Way

    @property
    def machines(self) -> Mapping[str, Machine]:
        """Of whoever can take part, by key."""

    @property
    def run_state(self) -> Run:
        """The run as the lab knows it."""

    @property
    def active(self) -> frozenset[str]:
        """Nodes that are provided for."""
