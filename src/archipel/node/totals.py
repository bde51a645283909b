"""What an agent has done so far: for the progress line, the last words and Prometheus."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.records.statements import LeaseGranted


@dataclass
class Totals:
    """Counts since the agent started."""

    works: dict[str, int] = field(default_factory=dict)
    """Outcome -> number of leases: accepted, refused, returned, lost."""
    tokens: int = 0
    tokens_at_hand: int = 0
    """Sampled so far for the work that the child is doing now."""
    groups: int = 0
    credit_micro: int = 0
    busy_s: float = 0.0
    waiting_s: float = 0.0
    version: int = -1
    """Policy version of the newest work."""

    def count(self, outcome: str) -> None:
        """One more lease ended like this."""
        self.works[outcome] = self.works.get(outcome, 0) + 1

    def progressed(self, tokens: int) -> None:
        """The child says how many tokens it has sampled for the work at hand."""
        self.tokens_at_hand = tokens

    def earned(self, grant: LeaseGranted, values: Mapping[str, Any]) -> None:
        """The answer to `grant` was accepted; `values` are its own words."""
        spec, num_tokens = grant.spec, values.get("num_tokens", 0)
        self.version = max(self.version, getattr(spec, "version", -1))
        self.tokens += num_tokens if isinstance(num_tokens, int) else 0
        self.groups += len(getattr(spec, "groups", ()))
        self.credit_micro += grant.price_micro

    def line(self) -> str:
        """One line for people."""
        outcomes = ", ".join(
            f"{number} {outcome}" for outcome, number in sorted(self.works.items())
        )
        rate = self.tokens / self.busy_s if self.busy_s else 0.0
        at_hand = f" + {self.tokens_at_hand} at hand" if self.tokens_at_hand else ""
        return (
            f"version {self.version} · {self.groups} groups · {self.tokens} tokens{at_hand} "
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
        yield GaugeMetricFamily(
            "archipel_node_tokens_at_hand",
            "Tokens sampled for the work that is being done",
            value=totals.tokens_at_hand,
        )
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
