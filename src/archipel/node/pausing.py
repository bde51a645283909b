"""When a node leaves its machine to others: outside its hours, on battery, while others compute.

`why_paused` is pure; `Machine` reads what this computer tells of itself (Linux: /proc and /sys). Law: a
rule that this machine cannot check is refused at the start, never passed over.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from archipel.node.standing import Doing, Standing

MIN_SLEEP_S = 0.1
LONG_S = 60.0
"""After a pause of so long the work process ends, which then starts anew: it keeps no memory from others."""
LOOK_S = 10.0
"""How often the machine is looked at; its load is a mean over so long."""
DAY_MINUTES = 24 * 60
_SPAN = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)")


class BadHours(ValueError):
    """No span of a day; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the local day, in minutes from midnight; it may run over midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Raises BadHours."""
        found = _SPAN.fullmatch(text.strip())
        if found is None:
            raise BadHours(f"{text!r:.40} is no span of a day; expected such as 22:00-07:00")
        first, last = (60 * int(found[n]) + int(found[n + 1]) for n in (1, 3))
        if max(first, last) > DAY_MINUTES or first == last:
            raise BadHours(f"{text!r:.40} is no span of a day; expected such as 22:00-07:00")
        return cls(first % DAY_MINUTES, last)

    def holds(self, minute: int) -> bool:
        """Whether this minute of the day lies in the span."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        spans = (f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        return "-".join(spans)


@dataclass(frozen=True, slots=True)
class Pausing:
    """The operator's rules; without any, a node never pauses."""

    hours: tuple[Hours, ...] = ()
    """It works within these spans only; none means always."""
    on_battery: bool = False
    """It pauses while the machine runs on battery."""
    max_load: float | None = None
    """It pauses while other programs keep more processor cores than this busy."""

    @property
    def is_any(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.hours) or self.on_battery or self.max_load is not None


@dataclass(frozen=True, slots=True)
class Now:
    """What the machine told."""

    minute: int
    """Of the local day."""
    on_battery: bool | None
    load: float | None
    """Processor cores that others kept busy."""


def why_paused(rules: Pausing, now: Now) -> str:
    """In words; empty if the node may work."""
    if rules.hours and not any(span.holds(now.minute) for span in rules.hours):
        return f"it works at {', '.join(map(str, rules.hours))} only"
    if rules.on_battery and now.on_battery:
        return "the machine runs on battery"
    if rules.max_load is not None and now.load is not None and now.load > rules.max_load:
        return f"others keep {now.load:.1f} cores busy, more than {rules.max_load:g}"
    return ""


def cannot_tell(rules: Pausing, machine: "Machine") -> str:
    """Which rule this machine cannot check, in words; empty if it can check all."""
    if rules.on_battery and machine.on_battery() is None:
        return "this machine does not tell whether it runs on battery"
    if rules.max_load is not None and machine.busy_ticks() is None:
        return "this machine does not tell how busy it is"
    return ""


class Watch:
    """Looks at the machine now and then, and remembers what the rules say of it."""

    def __init__(
        self, rules: Pausing, standing: Standing, machine: "Machine | None" = None
    ) -> None:
        """standing: where it is said why the node pauses."""
        self._rules, self._standing = rules, standing
        self.machine = machine or Machine()
        self._next_s = 0.0

    def is_paused(self, worker: int | None) -> bool:
        """worker: process id of our own work, which is not others'."""
        now_s = time.monotonic()
        if self._rules.is_any and now_s >= self._next_s:
            self._next_s = now_s + LOOK_S
            self._standing.paused(why_paused(self._rules, self.machine.now(worker)))
        return bool(self._standing.why_paused)

    @property
    def is_long(self) -> bool:
        """Whether this pause is no short one any more."""
        is_pause = self._standing.doing is Doing.PAUSED and bool(self._standing.why_paused)
        return is_pause and time.monotonic() - self._standing.since_s >= LONG_S

    async def sit_out(self) -> None:
        """Until it is time to look again."""
        self._standing.at(Doing.PAUSED)
        await asyncio.sleep(max(self._next_s - time.monotonic(), MIN_SLEEP_S))


class Machine:
    """The computer that the node runs on, as it tells of itself."""

    def __init__(self, system: Path = Path("/sys"), processes: Path = Path("/proc")) -> None:
        self.also: Callable[[], Iterable[int]] = tuple
        """Further work processes of this node, whose time is not others' either."""
        self._supplies = system / "class" / "power_supply"
        self._processes = processes
        self._last: tuple[float, int, int, frozenset[int]] | None = None
        """When it was looked at, busy ticks, our own ticks, of which work processes."""

    def now(self, worker: int | None) -> Now:
        """worker: process id of our own work, which is not others'."""
        local = time.localtime()
        minute = 60 * local.tm_hour + local.tm_min
        return Now(minute, self.on_battery(), self._others(time.monotonic(), worker))

    def on_battery(self) -> bool | None:
        """A machine without a battery is not. None: it does not tell."""
        try:
            kinds = {each: _word(each / "type") for each in self._supplies.iterdir()}
        except OSError:
            return None
        mains = [each for each, kind in kinds.items() if kind in ("Mains", "USB")]
        cells = [each for each, kind in kinds.items() if kind == "Battery"]
        if any(_word(each / "online") == "1" for each in mains):
            return False
        return any(_word(each / "status") == "Discharging" for each in cells)

    def busy_ticks(self) -> int | None:
        """Processor time that all programs took since the machine started, in clock ticks."""
        try:
            with (self._processes / "stat").open("rb") as file:
                words = file.readline(4096).split()
            user, nice, system, _, _, irq, soft = map(int, words[1:8])
        except (OSError, ValueError):
            return None
        return user + nice + system + irq + soft

    def _others(self, now_s: float, worker: int | None) -> float | None:
        busy = self.busy_ticks()
        if busy is None:
            return None
        ours = frozenset((*self.also(), *(() if worker is None else (worker,))))
        own = sum(map(self._ticks_of, ours))
        last, self._last = self._last, (now_s, busy, own, ours)
        if last is None or last[3] != ours or now_s <= last[0]:
            return None
        ticks = (busy - last[1]) - (own - last[2])
        return max(ticks, 0) / os.sysconf("SC_CLK_TCK") / (now_s - last[0])

    def _ticks_of(self, process: int) -> int:
        try:
            with (self._processes / str(process) / "stat").open("rb") as file:
                words = file.read(4096).rpartition(b")")[2].split()
            return int(words[11]) + int(words[12])
        except (OSError, ValueError, IndexError):
            return 0


def _word(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""
