"""Processor time of the demo's nodes at their work, as this machine counts it: what a central run would rent.

From when the run is open and the lab knows the node, so that loading and measuring are not in it. Linux; elsewhere
nothing is known, and nothing is said.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from archipel.bench.processor import tree_seconds


@dataclass
class Hours:
    """Of work processes, by name of the node."""

    first_s: dict[str, float] = field(default_factory=dict)
    last_s: dict[str, float] = field(default_factory=dict)

    def note(self, pids: Mapping[str, int]) -> None:
        """Look at these agents' work processes now; what is gone keeps its last figure."""
        for name, pid in pids.items():
            used_s = tree_seconds(pid)
            if not math.isnan(used_s) and used_s >= self.last_s.get(name, 0.0):
                self.first_s.setdefault(name, used_s)
                self.last_s[name] = used_s

    @property
    def used_s(self) -> float:
        """Processor seconds of all together; 0: nothing is known."""
        return math.fsum(self.last_s[name] - self.first_s[name] for name in self.last_s)
