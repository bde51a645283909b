"""The lab's state and traffic as Prometheus metrics, computed when asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.lab import presence, views
from archipel.lab.mesh import Mesh
from archipel.lab.state import LabState
from archipel.lab.traffic import Traffic
from archipel.ledger.storage import Term

MAX_NODE_SERIES = 500
"""Labs with more nodes here show their sums only; `/nodes` has each."""
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
_TRAFFIC_COUNTERS = {
    "requests": ("requests", "Requests answered"),
    "request_body_bytes": ("bytes_in", "Bytes of the bodies that came"),
    "response_body_bytes": ("bytes_out", "Bytes of the bodies that went"),
}

_DIRECT_COUNTERS = {
    "blobs": "Blobs that nodes were sent to the store for (out), or that landed in it (in)",
    "bytes": "Bytes of these: none passed this lab, and its uplink's limit counts none of them",
}


class Collector(Protocol):
    """Whoever measures something."""

    def collect(self) -> Iterable[Metric]:
        """The metric families."""


class StateCollector:
    """Turns one state into metric families."""

    def __init__(
        self,
        state: LabState,
        now_ms: int,
        ledger_size: int,
        asked_ms: Mapping[str, int] = presence.NOBODY_ASKED,
    ) -> None:
        """`asked_ms`: see `presence.last_heard_ms`."""
        self._asked_ms = asked_ms
        self._state = state
        self._now_ms = now_ms
        self._ledger_size = ledger_size

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        state = self._state
        dids = list(presence.here(state, state.nodes, self._asked_ms, self._now_ms))
        yield GaugeMetricFamily(
            "archipel_ledger_entries", "Entries in the ledger", value=self._ledger_size
        )
        yield GaugeMetricFamily(
            "archipel_open_leases", "Leases in nodes' hands", value=len(state.leases)
        )
        yield GaugeMetricFamily("archipel_nodes", "Nodes that are here: not gone", value=len(dids))
        shown = [views.run_view(state, run, self._now_ms) for run in state.runs.values()]
        runs = [view.model_dump() | view.progress for view in shown]
        yield from _families(runs, "run", _RUN_GAUGES, GaugeMetricFamily)
        yield from _families(runs, "run", _RUN_COUNTERS, CounterMetricFamily)
        if len(dids) <= MAX_NODE_SERIES:
            yield from self._nodes(dids)

    def _nodes(self, dids: Sequence[str]) -> Iterable[Metric]:
        shown = views.node_views(self._state, self._now_ms, dids, self._asked_ms)
        nodes = [view.model_dump() for view in shown]
        yield from _families(nodes, "node", _NODE_COUNTERS, CounterMetricFamily)
        silent = {"silent_s": "Seconds since the node was last heard of"}
        yield from _families(nodes, "node", silent, GaugeMetricFamily)


class TrafficCollector:
    """Turns the door's counts into metric families."""

    def __init__(self, traffic: Traffic) -> None:
        self._rows = [(list(place), replace(passed)) for place, passed in traffic.rows()]
        self._direct = {"out": replace(traffic.fetched), "in": replace(traffic.landed)}

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        for name, (field, text) in _TRAFFIC_COUNTERS.items():
            made = CounterMetricFamily(f"archipel_{name}", text, labels=["route", "method"])
            for place, passed in self._rows:
                made.add_metric(place, float(getattr(passed, field)))
            yield made
        for field, text in _DIRECT_COUNTERS.items():
            made = CounterMetricFamily(f"archipel_direct_{field}", text, labels=["way"])
            for way, passed_by in self._direct.items():
                made.add_metric([way], float(getattr(passed_by, field)))
            yield made


class MeshCollector:
    """Turns what is known of passing versions on into metric families."""

    def __init__(self, mesh: Mesh) -> None:
        self._uplink, self._serving = mesh.uplink, mesh.num_serving
        self._spreads = [
            ([digest, spread.plan.chosen.shape.value], len(spread.places), spread.num_whole)
            for digest, spread in mesh.spreads.items()
        ]

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        uplink = "Bytes a second that large blobs are planned to leave with; 0: not known"
        yield GaugeMetricFamily("archipel_uplink_bytes_per_second", uplink, self._uplink or 0)
        serving = "Nodes that pass versions on"
        yield GaugeMetricFamily("archipel_nodes_serving", serving, self._serving)
        labels = ["digest", "shape"]
        sent = GaugeMetricFamily("archipel_spread_nodes", "Nodes sent for the blob", labels=labels)
        whole = GaugeMetricFamily("archipel_spread_whole", "Nodes that have it", labels=labels)
        for named, num_nodes, num_whole in self._spreads:
            sent.add_metric(named, num_nodes)
            whole.add_metric(named, num_whole)
        yield from (sent, whole)


class LeaderCollector:
    """Turns who leads, where several labs share a ledger, into metric families; nothing where they do not."""

    def __init__(self, term: Term | None, *, leads: bool) -> None:
        """term: the newest. leads: whether it is this lab's."""
        self._term, self._leads = term, leads

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        if self._term is None:
            return
        leads = "1: this lab writes to the ledger that several share, 0: it follows"
        yield GaugeMetricFamily("archipel_leads", leads, value=int(self._leads))
        term = "Term of whoever leads: how often that changed"
        yield GaugeMetricFamily("archipel_leader_term", term, value=self._term.number)


def leader_text(term: Term, *, leads: bool) -> str:
    """The exposition format of who leads alone: what a follower measures."""
    return prometheus_text(LeaderCollector(term, leads=leads))


def prometheus_text(
    *collectors: Collector,
) -> str:
    """The exposition format."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)  # type: ignore[arg-type]  # by shape
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
