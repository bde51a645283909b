"""Many tenants over one base beside as many processes with a base each, and what a door's HTTP adds, in one run.

Parts: `Plan`, `measure`, `Case` (what is known of a number of tenants and a length). Both sides do the same work from the same tokens,
on the same cores, by one thread each; they take turns round by round and are compared within a round. As many separate processes as fit into
memory run at once and the rest after them, which `found` says. Laws: a company of any size leaves its first tenant with the same
bits, and the run fails where it does not; wall time is what people wait for, processor time is what neighbours disturb less.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from archipel.bench.door_http import Overhead, Placed, measure_http
from archipel.bench.door_side import Process, SideFailed, ending
from archipel.bench.door_work import OURS, PLAIN, Work
from archipel.bench.processor import confined_to
from archipel.work.room import free_bytes

Tell = Callable[[str], None]
Found = dict[str, Any]
SIDE = "archipel.bench.door_side"
SAME_LOSS = 1e-3
"""Relative; of the same weights and tokens, added up in other orders."""
SPARED_BYTES = 3 * 10**9
"""That separate processes leave free for everybody else."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    model: str = "100m"
    rank: int = 16
    tenants: tuple[int, ...] = (1, 8, 32)
    """(): no sides, HTTP alone."""
    lengths: tuple[int, ...] = (32, 256)
    sequences: int = 1
    """Of a tenant's step."""
    rounds: int = 3
    steps: int = 1
    """Of every tenant in a round."""
    threads: int = 1
    http: Overhead = field(default_factory=Overhead)


QUICK = Plan(
    model="tiny", tenants=(1, 4), lengths=(8, 32), rounds=2, http=Overhead(tenants=(2,), rounds=2)
)


@dataclass
class Case:
    """So many tenants with sequences of one length; a list has a number for each round."""

    tenants: int
    length: int
    tokens: int
    """Of a round."""
    steps: int
    """Of a round, over all tenants."""
    ours_wall_s: list[float] = field(default_factory=list)
    ours_cpu_s: list[float] = field(default_factory=list)
    separate_wall_s: list[float] = field(default_factory=list)
    separate_cpu_s: list[float] = field(default_factory=list)
    separate: int = 0
    """Processes whose rounds are all in those times; fewer than tenants while some have not had their turn."""
    ours_peak: int = 0
    """Bytes; so are those below."""
    ours_pss: int = 0
    separate_peak: int = 0
    """Of one process."""
    separate_pss: int = 0
    digest: str = ""


def measure(plan: Plan, environment: Mapping[str, str], tell: Tell, found: Found) -> None:
    """All that the plan names, into `found` as it comes.

    Raises:
        SideFailed: a process ended badly, or company changed what became of a tenant.
    """
    folder = Path(tempfile.mkdtemp(prefix="archipel-door-"))
    found |= {"plan": asdict(plan), "cases": [], "http": []}
    try:
        with confined_to(plan.threads) as cores:
            found["cores"] = cores
            if plan.http.tenants:
                most = max(plan.http.tenants)
                work = Work(OURS, plan.model, plan.rank, 0, most, plan.sequences, plan.threads)
                measure_http(plan.http, work, Placed(folder, environment), tell, found)
            if plan.tenants:
                _Sides(plan, folder, environment, tell, found).measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Sides:
    """Tenants over one base, and processes of their own."""

    def __init__(
        self, plan: Plan, folder: Path, environment: Mapping[str, str], tell: Tell, found: Found
    ) -> None:
        self._plan, self._folder, self._environment = plan, folder, environment
        self._tell, self._found = tell, found
        self._first_loss = math.nan
        self._cases = {
            (length, tenants): self._case(length, tenants)
            for length in plan.lengths
            for tenants in plan.tenants
        }

    def _case(self, length: int, tenants: int) -> Case:
        steps = tenants * self._plan.steps
        return Case(tenants, length, steps * self._plan.sequences * length, steps)

    def measure(self) -> None:
        """Every case; the largest company first, since what it leaves free says how many processes fit."""
        most = max(self._plan.tenants)
        processes: list[Process] = []
        with ending(processes):
            for tenants in sorted(self._plan.tenants, reverse=True):
                self._beside(tenants, processes)
        check_bits(list(self._cases.values()))
        at_once = len(processes)
        for start in range(at_once, most, at_once):
            stop = min(start + at_once, most)
            wave = [self._process(PLAIN, number, 1) for number in range(start, stop)]
            with ending(wave):
                for each in wave:
                    self._begin(each)
                self._tell(f"separate processes {start + 1} to {stop}")
                for tenants in self._plan.tenants:
                    self._rounds(tenants, wave[: max(0, tenants - start)], None)

    def _beside(self, tenants: int, processes: list[Process]) -> None:
        """One company, beside as many processes; those that fit are begun where there are none yet."""
        company = self._process(OURS, 0, tenants)
        with ending([company]):
            loss = self._begin(company)
            if not processes:
                self._fill(processes)
            check_losses([loss, self._first_loss])
            self._rounds(tenants, processes[:tenants], company)

    def _fill(self, processes: list[Process]) -> None:
        first = self._process(PLAIN, 0, 1)
        processes.append(first)
        self._first_loss = self._begin(first)
        for number in range(1, self._that_fit(first)):
            processes.append(self._process(PLAIN, number, 1))
            self._begin(processes[-1])
        self._tell(f"{len(processes)} separate processes at once")

    def _process(self, way: str, first: int, tenants: int) -> Process:
        plan = self._plan
        work = Work(way, plan.model, plan.rank, first, tenants, plan.sequences, plan.threads)
        log = self._folder / f"{way.replace(' ', '-')}-{first}-{tenants}.log"
        return Process(SIDE, asdict(work), log, self._environment)

    def _begin(self, process: Process) -> float:
        """Load, and a first step that is not counted; the loss of it."""
        process.start()
        process.ready()
        _, (told,) = self._run([process], 0, self._plan.lengths[0])
        return float(told["loss"])

    def _that_fit(self, first: Process) -> int:
        most, free = max(self._plan.tenants), free_bytes()
        first.tell(first=0, steps=0, length=1)
        needs = int(first.hear()["peak"])
        fit = most if free is None or not needs else 1 + max(0, (free - SPARED_BYTES) // needs)
        self._found["at_once"] = min(most, fit)
        self._found["one_process_bytes"] = needs
        return min(most, fit)

    def _rounds(self, tenants: int, wave: Sequence[Process], company: Process | None) -> None:
        """wave: processes of some of the tenants; company: all of them over one base, beside the first wave alone."""
        for length in self._plan.lengths if wave else ():
            case = self._cases[length, tenants]
            for number in range(self._plan.rounds):
                for is_ours in (True, False) if number % 2 else (False, True):
                    if not is_ours:
                        self._separate(case, wave, number)
                    elif company is not None:
                        self._ours(case, company, number)
                self._tell(f"{tenants} tenants, {length} tokens: round {number + 1}")
            case.separate += len(wave)
            self._found["cases"] = [asdict(each) for each in self._cases.values()]

    def _ours(self, case: Case, process: Process, number: int) -> None:
        wall_s, (told,) = self._run([process], number + 1, case.length)
        case.ours_wall_s.append(wall_s)
        case.ours_cpu_s.append(told["cpu_s"])
        case.ours_peak, case.ours_pss = told["peak"], told["pss"]
        case.digest = told["digest"]

    def _separate(self, case: Case, processes: Sequence[Process], number: int) -> None:
        """Adds to the round's times what earlier processes took."""
        wall_s, told = self._run(processes, number + 1, case.length)
        for times, took in (
            (case.separate_wall_s, wall_s),
            (case.separate_cpu_s, sum(each["cpu_s"] for each in told)),
        ):
            if len(times) <= number:
                times.append(0.0)
            times[number] += took
        case.separate_peak = max(case.separate_peak, *(each["peak"] for each in told))
        case.separate_pss = max(case.separate_pss, sum(each["pss"] for each in told) // len(told))

    def _run(
        self, processes: Sequence[Process], round_number: int, length: int
    ) -> tuple[float, list[dict[str, Any]]]:
        """All at once: seconds until the last has ended, and what each says of itself."""
        steps = self._plan.steps
        began_s = time.perf_counter()
        for each in processes:
            each.tell(first=round_number * steps, steps=steps, length=length)
        told = [each.hear() for each in processes]
        return time.perf_counter() - began_s, told


def check_losses(losses: Sequence[float]) -> None:
    """All sides did the first tenant's first step alike. Raises SideFailed."""
    if any(not math.isclose(each, losses[0], rel_tol=SAME_LOSS) for each in losses):
        raise SideFailed(f"the sides do different work: the first losses are {losses}")


def check_bits(cases: Sequence[Case]) -> None:
    """Company left the first tenant with the bits that it has alone. Raises SideFailed."""
    for length in {each.length for each in cases}:
        digests = {each.digest for each in cases if each.length == length}
        if len(digests) > 1:
            raise SideFailed(
                f"the first tenant's weights differ with company at {length} tokens: {digests}"
            )
