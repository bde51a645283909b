"""How much a lab can bear: nodes that wait, records, restarts, statements a second, and how each grows.

Parts: `lab_load` (a real lab under N light nodes), `lab_cost` (restarts, flow, costs in process),
`lab_report` (tables and curves). Aims are stated beside the figures; a figure that misses one is shown.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from archipel.bench.lab_cost import (
    Costs,
    Flow,
    Restart,
    measure_costs,
    measure_flow,
    measure_restarts,
)
from archipel.bench.lab_crowds import LoadPlan
from archipel.bench.lab_load import Load, measure_load

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


QUICK = Plan(
    nodes=(20, 200),
    load=replace(LoadPlan(), idle_s=3.0, warm_s=3.0, measured_s=10.0, entries_per_s=100),
    restarts=(1_000, 5_000),
    flow=1_000,
    costs=(10, 100, 1_000),
)


@dataclass(frozen=True)
class Measured:
    """All of it."""

    loads: list[Load]
    restarts: list[Restart]
    flow: Flow | None
    costs: list[Costs]


def measure(plan: Plan, environment: Mapping[str, str], tell: Tell = lambda _: None) -> Measured:
    """Everything in the plan, one part after the other, in folders that are gone afterwards.

    Raises:
        SiteFailed: a process died or did not come in time.
        Lost: the lab gave a receipt for what its ledger does not hold.
    """
    loads = []
    for nodes in plan.nodes:
        tell(f"{nodes} nodes join")
        with tempfile.TemporaryDirectory(prefix="archipel-bench-") as folder:
            loads.append(measure_load(nodes, plan.load, Path(folder), environment, tell))
    restarts, flow = [], None
    with tempfile.TemporaryDirectory(prefix="archipel-bench-") as folder:
        if plan.flow:
            tell(f"{plan.flow} statements flow into SQLite")
            flow = measure_flow(plan.flow, Path(folder))
        if plan.restarts:
            tell("a ledger grows")
            restarts = measure_restarts(plan.restarts, Path(folder) / "site", environment, tell)
    costs = []
    for nodes in plan.costs:
        tell(f"costs among {nodes} nodes")
        costs.append(measure_costs(nodes))
    return Measured(loads, restarts, flow, costs)
