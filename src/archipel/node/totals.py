"""What an agent has done so far: for the progress line, the last words and Prometheus."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass
class Totals:
    """Counts since the agent started."""

    works: dict[str, int] = field(default_factory=dict)
    """Outcome -> number of leases: accepted, refused, returned, lost."""
    tokens: int = 0
    groups: int = 0
    credit_micro: int = 0
    busy_s: float = 0.0
    waiting_s: float = 0.0
    version: int = -1
    """Policy version of the newest work."""

    def count(self, outcome: str) -> None:
        """One more lease ended like this."""
        self.works[outcome] = self.works.get(outcome, 0) + 1

    def line(self) -> str:
        """One line for people."""
        outcomes = ", ".join(
            f"{number} {outcome}" for outcome, number in sorted(self.works.items())
        )
        rate = self.tokens / self.busy_s if self.busy_s else 0.0
        return (
            f"version {self.version} · {self.groups} groups · {self.tokens} tokens "
            f"({rate:.0f}/s busy) · {self.credit_micro / 1e6:.6f} credits · {outcomes or 'no work yet'}"
        )


class TotalsCollector:
    """Shows an agent's totals to Prometheus."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        totals = self._totals
        works = CounterMetricFamily("archipel_node_works", "Leases by outcome", labels=["outcome"])
        for outcome, number in totals.works.items():
            works.add_metric([outcome], number)
        yield works
        yield CounterMetricFamily("archipel_node_tokens", "Tokens sampled", value=totals.tokens)
        yield CounterMetricFamily("archipel_node_groups", "Groups sampled", value=totals.groups)
        yield CounterMetricFamily(
            "archipel_node_busy_seconds", "Time the child worked", value=totals.busy_s
        )
        yield CounterMetricFamily(
            "archipel_node_waiting_seconds", "Time spent waiting for work", value=totals.waiting_s
        )
        yield GaugeMetricFamily(
            "archipel_node_policy_version",
            "Policy version of the newest work",
            value=totals.version,
        )
