"""How much a lab can bear: nodes that wait, records, restarts, statements a second, and how each grows.

Parts: `lab_load` (a real lab under N light nodes), `lab_cost` (restarts, flow, costs in process),
`lab_siege` (what honest work keeps under attack), `lab_report` (tables and curves). Aims are stated beside the figures; a figure that misses one is shown.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from archipel.bench.kept import Asked, Kept
from archipel.bench.lab_cost import (
    Costs,
    Flow,
    Restart,
    measure_costs,
    measure_flow,
    measure_restarts,
    nodes_of,
)
from archipel.bench.lab_crowds import LoadPlan
from archipel.bench.lab_load import Load, measure_load
from archipel.bench.lab_siege import Siege, SiegePlan, measure_siege

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured; an empty part is left out."""

    nodes: tuple[int, ...] = (100, 1_000, 10_000)
    load: LoadPlan = field(default_factory=LoadPlan)
    restarts: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    flow: int = 4_000
    """Statements."""
    costs: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    """Numbers of nodes."""
    siege: SiegePlan | None = None


QUICK = Plan(
    nodes=(20, 200),
    load=replace(LoadPlan(), idle_s=3.0, warm_s=3.0, measured_s=10.0, entries_per_s=100),
    restarts=(1_000, 5_000),
    flow=1_000,
    costs=(10, 100, 1_000),
)


@dataclass
class Measured:
    """All of it, or what there is so far."""

    loads: list[Load] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    flow: Flow | None = None
    costs: list[Costs] = field(default_factory=list)
    sieges: list[Siege] = field(default_factory=list)


class Pressing:
    """One plan in one folder, where every figure is kept as it is found."""

    def __init__(
        self, plan: Plan, folder: Path, environment: Mapping[str, str], tell: Tell = lambda _: None
    ) -> None:
        """Raises NotOurs: the folder holds another's steps."""
        self._plan, self._environment, self._tell = plan, environment, tell
        self._kept = Kept(folder)
        self.measured = Measured()

    def measure(self) -> None:
        """Everything in the plan that is missing, one part after the other, in folders that are gone afterwards.

        Raises:
            SiteFailed: a process died or did not come in time.
            Lost: the lab gave a receipt for what its ledger does not hold.
        """
        plan, found = self._plan, self.measured
        for nodes in plan.nodes:
            asked = _asked("load", nodes=nodes, **asdict(plan.load))
            found.loads.append(self._kept.value(asked, Load, partial(self._load, nodes)))
        if plan.flow:
            asked = _asked("flow", statements=plan.flow)
            found.flow = self._kept.value(asked, Flow, self._flow)
        if plan.restarts:
            self._restart()
        for nodes in plan.costs:
            asked = _asked("costs", nodes=nodes)
            found.costs.append(self._kept.value(asked, Costs, partial(self._costs, nodes)))
        if plan.siege is not None:
            for way in plan.siege.ways:
                one = replace(plan.siege, ways=(way,))
                asked = _asked("siege", **asdict(one))
                found.sieges.append(self._kept.value(asked, Siege, partial(self._siege, one)))

    def _load(self, nodes: int) -> Load:
        self._tell(f"{nodes} nodes join")
        with _scratch() as folder:
            return measure_load(nodes, self._plan.load, folder, self._environment, self._tell)

    def _flow(self) -> Flow:
        self._tell(f"{self._plan.flow} statements flow into SQLite")
        with _scratch() as folder:
            return measure_flow(self._plan.flow, folder)

    def _restart(self) -> None:
        """One ledger grows through all sizes that are missing."""
        sizes = self._plan.restarts
        nodes, asked = nodes_of(sizes), {}
        for size in sizes:
            asked[size] = _asked("restart", entries=size, nodes=nodes)
        missing = [size for size in sizes if self._kept.find(asked[size]) is None]
        with _scratch() as folder:
            if missing:
                self._tell("a ledger grows")
            own = measure_restarts(missing, folder / "site", self._environment, self._tell, nodes)
            for size in sizes:
                value = self._kept.value(asked[size], Restart, partial(next, own))
                self.measured.restarts.append(value)

    def _siege(self, plan: SiegePlan) -> Siege:
        with _scratch() as folder:
            (siege,) = measure_siege(plan, folder, self._environment, self._tell)
            return siege

    def _costs(self, nodes: int) -> Costs:
        self._tell(f"costs among {nodes} nodes")
        return measure_costs(nodes)


def _asked(part: str, **words: Any) -> Asked:
    return {"part": f"lab {part}", **words}


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="archipel-bench-") as folder:
        yield Path(folder)
