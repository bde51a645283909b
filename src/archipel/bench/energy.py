"""Joules that the processor says it took: Linux' RAPL counters, where they may be read.

Parts: `Meter`. They count the whole package, whoever used it. Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

FOLDER = Path("/sys/class/powercap")
T = TypeVar("T")


class Meter:
    """The counters of all packages."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._zones = [
            zone
            for zone in sorted(folder.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _number(zone / "energy_uj") is not None
        ]

    @property
    def is_here(self) -> bool:
        """Whether this machine tells."""
        return bool(self._zones)

    def over(self, work: Callable[[], T]) -> tuple[T, float | None]:
        """What the work gives, and its joules; None where nobody tells. A counter may go round once."""
        before = [_number(zone / "energy_uj") for zone in self._zones]
        found = work()
        if not self._zones:
            return found, None
        total = 0
        for zone, then in zip(self._zones, before, strict=True):
            now, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
            if now is None or then is None:
                return found, None
            total += now - then if now >= then else now - then + (most or 0)
        return found, total / 1e6


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
