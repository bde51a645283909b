"""What this machine draws at work, as it tells of itself: counters of energy (Linux powercap), or the limits of its cards.

Law: what is not told is None, and nobody waits for it; what is assumed instead, `market.asks` says. Counters are of
whole processor packages, with others' work on them: they are read while this node is measured, and nothing else
should run.
"""

import contextlib
import logging
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger("archipel.node")

PACKAGES = "intel-rapl:[0-9]*"
"""Zones of whole packages; their parts have a second number (Linux, Documentation/power/powercap; AMD's are named so, too)."""
WALL_PERMILLE = 1250
"""What the meter sees of a package's power: memory, fans and the supply's losses come to a quarter more. An assumption."""
MIN_SPAN_S = 0.2
"""Over less, the counters' own steps blur the figure."""
CARDS = ("nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits")
CARDS_LIMIT_S = 10.0
MAX_CARD_WATTS = 10_000


class Meter:
    """Watts while a block runs: `with Meter() as meter: ...; meter.watts`."""

    def __init__(self, system: Path = Path("/sys")) -> None:
        self._zones = system / "class" / "powercap"
        self._before: Mapping[Path, int] = {}
        self._began_s = 0.0
        self.watts: int | None = None
        """At the wall; None: this machine does not tell, or the block was too short."""

    def __enter__(self) -> Self:
        self._before, self._began_s = self._read(), time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        span_s, after = time.monotonic() - self._began_s, self._read()
        if not after or after.keys() != self._before.keys() or span_s < MIN_SPAN_S:
            return
        used_uj = sum(_passed(zone, self._before[zone], now) for zone, now in after.items())
        self.watts = round(used_uj * WALL_PERMILLE / (span_s * 10**9)) or None

    def _read(self) -> dict[Path, int]:
        """Zone -> microjoules; empty where one of them cannot be read (most kernels tell only the superuser)."""
        read = dict[Path, int]()
        with contextlib.suppress(OSError):
            for zone in self._zones.glob(PACKAGES):
                if zone.name.count(":") == 1:
                    microjoules = _number(zone / "energy_uj")
                    if microjoules is None:
                        return {}
                    read[zone] = microjoules
        return read


def cards_watts(devices: int, command: tuple[str, ...] = CARDS) -> int | None:
    """What so many of this machine's accelerators may draw together, by their drivers' own limits; None: not told."""
    try:
        told = subprocess.run(  # noqa: S603  a fixed command, no shell
            command,
            capture_output=True,
            timeout=CARDS_LIMIT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
        limits = [float(line) for line in told[:4096].decode("ascii").split("\n") if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.info("cards do not tell their power", extra={"reason": str(error)})
        return None
    used = limits[: max(devices, 1)]
    if not used or not all(0 < each <= MAX_CARD_WATTS for each in used):
        return None
    return round(sum(used))


def _passed(zone: Path, before: int, after: int) -> int:
    """Microjoules between two readings of a counter that starts again at 0 after its range."""
    if after >= before:
        return after - before
    return after - before + (_number(zone / "max_energy_range_uj") or before)


def _number(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return None
