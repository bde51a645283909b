"""The lab's state as Prometheus metrics, computed when asked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.lab import views
from archipel.lab.state import LabState

MAX_NODE_SERIES = 500
"""Labs with more nodes show their sums only; `/nodes` has each."""
_RUN_GAUGES = {
    "version": "Newest policy version",
    "groups_in_flight": "Groups in nodes' hands",
    "groups_admissible": "Groups that the staleness bound would admit now",
    "learner_utilisation": "Share of the time that an update was being made",
    "reward": "Mean reward of the newest batch",
}
_RUN_COUNTERS = {
    "groups_accepted": "Groups accepted",
    "tokens": "Sampled tokens accepted",
    "rollout_bytes": "Bytes of accepted results",
    "spent_micro": "Micro-credits paid or promised",
}
_NODE_COUNTERS = {
    "groups": "Groups accepted from the node",
    "tokens": "Tokens accepted from the node",
    "expired": "Leases the node let run out",
    "returned": "Leases the node gave back",
}


class StateCollector:
    """Turns one state into metric families."""

    def __init__(self, state: LabState, now_ms: int, ledger_size: int) -> None:
        self._state = state
        self._now_ms = now_ms
        self._ledger_size = ledger_size

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        state = self._state
        present = sum(node.present for node in state.nodes.values())
        yield GaugeMetricFamily(
            "archipel_ledger_entries", "Entries in the ledger", value=self._ledger_size
        )
        yield GaugeMetricFamily(
            "archipel_open_leases", "Leases in nodes' hands", value=len(state.leases)
        )
        yield GaugeMetricFamily("archipel_nodes", "Nodes that are present", value=present)
        shown = [views.run_view(state, run, self._now_ms) for run in state.runs.values()]
        runs = [view.model_dump() | view.progress for view in shown]
        yield from _families(runs, "run", _RUN_GAUGES, GaugeMetricFamily)
        yield from _families(runs, "run", _RUN_COUNTERS, CounterMetricFamily)
        if len(state.nodes) <= MAX_NODE_SERIES:
            yield from self._nodes()

    def _nodes(self) -> Iterable[Metric]:
        shown = [views.node_view(self._state, n, self._now_ms) for n in self._state.nodes.values()]
        nodes = [view.model_dump() for view in shown]
        yield from _families(nodes, "node", _NODE_COUNTERS, CounterMetricFamily)
        silent = {"silent_s": "Seconds since the node was last heard of"}
        yield from _families(nodes, "node", silent, GaugeMetricFamily)


def prometheus_text(state: LabState, now_ms: int, ledger_size: int) -> str:
    """The exposition format."""
    registry = CollectorRegistry()
    registry.register(StateCollector(state, now_ms, ledger_size))  # type: ignore[arg-type]  # a collector by shape
    return generate_latest(registry).decode()


def _families(
    rows: Sequence[Mapping[str, Any]],
    label: str,
    names: Mapping[str, str],
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
) -> Iterable[Metric]:
    for name, text in names.items():
        made = family(f"archipel_{label}_{name}", text, labels=[label])
        for row in rows:
            value = row.get(name)
            if isinstance(value, int | float):
                made.add_metric([str(row[label])], float(value))
        yield made
