"""What a node that serves several labs shows Prometheus: each lab's totals, and how the machine is divided.

Law: read from another thread than the agents', so it copies what it looks at; names of labs are the operator's own.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.node.divided import Divided
from archipel.node.totals import Totals, families


class Worker(Protocol):
    """One lab's agent."""

    totals: Totals


class Whose(Protocol):
    """What is needed of a node."""

    machine: Divided

    @property
    def agents(self) -> Mapping[str, Worker]:
        """Lab -> its agent."""


class SeveralCollector:
    """Of one node; its labs come and go."""

    def __init__(self, node: Whose) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        """The metric families, each by lab."""
        account, agents = self._node.machine.account, dict(self._node.agents)
        yield from families({(name,): each.totals for name, each in agents.items()}, ("lab",))
        spent = CounterMetricFamily(
            "archipel_node_stint_seconds", "Time that a lab had the machine", labels=("lab",)
        )
        weight = GaugeMetricFamily(
            "archipel_node_weight", "Of a lab, beside the others'", labels=("lab",)
        )
        for name, place in account.places.items():
            spent.add_metric((name,), place.spent_s)
            weight.add_metric((name,), place.weight)
        given = CounterMetricFamily(
            "archipel_node_pledge_given_seconds", "Time given to a pledge", labels=("pledge",)
        )
        owed = GaugeMetricFamily(
            "archipel_node_pledge_owed_seconds",
            "Time that a pledge is still owed; below zero: given in advance",
            labels=("pledge",),
        )
        for name, floor in account.floors.items():
            given.add_metric((name,), floor.given_s)
            owed.add_metric((name,), floor.owed_s)
        yield from (spent, weight, given, owed)
