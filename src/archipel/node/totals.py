"""What an agent has done so far: for the progress line, the last words and Prometheus."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.node.asks import Pace
from archipel.plurals import counted
from archipel.records.statements import LeaseGranted

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Loss:
    """A lease that brought nothing."""

    work: str
    outcome: str
    why: str

    def __str__(self) -> str:
        said = f"{self.work} {self.outcome}".strip()
        return f"{said}: {self.why}" if self.why else said


@dataclass
class Totals:
    """Counts since the agent started."""

    works: dict[str, int] = field(default_factory=dict)
    """Outcome -> number of leases: accepted (and paid), refused (by the lab), returned (given back
    undone), lost (over before an answer arrived)."""
    tokens: int = 0
    tokens_at_hand: int = 0
    """Sampled so far for the work that the child is doing now."""
    groups: int = 0
    credit_micro: int = 0
    busy_s: float = 0.0
    waiting_s: float = 0.0
    versions: dict[str, int] = field(default_factory=dict)
    """Run -> policy version of the newest work of it that was accepted."""
    paces: dict[str, Pace] = field(default_factory=dict)
    """Run -> this node's own pace at sampling for it."""
    last_loss: Loss | None = None
    """The newest lease that was not accepted."""
    is_unpaid: bool = False
    """The trusted role's: nobody pays it, so nothing is said of credits."""
    before_micro: int | None = None
    """What the lab said at joining that this key had earned before; None: it did not say."""

    def count(self, outcome: str, work: str = "", why: str = "") -> None:
        """One more lease ended like this."""
        self.works[outcome] = self.works.get(outcome, 0) + 1
        if outcome != ACCEPTED:
            self.last_loss = Loss(work, outcome, why)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The time in the block was spent waiting."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.waiting_s += time.monotonic() - start

    def progressed(self, tokens: int) -> None:
        """The child says how many tokens it has sampled for the work at hand."""
        self.tokens_at_hand = tokens

    def earned(self, grant: LeaseGranted, values: Mapping[str, Any], busy_s: float) -> None:
        """The answer to `grant` was accepted; `values` are its own words, `busy_s` it took."""
        spec, num_tokens = grant.spec, values.get("num_tokens", 0)
        if isinstance(num_tokens, int) and getattr(spec, "groups", None):
            self.paces.setdefault(spec.run, Pace()).add(num_tokens, busy_s)
        version = getattr(spec, "version", -1)
        self.versions[spec.run] = max(self.versions.get(spec.run, -1), version)
        self.tokens += num_tokens if isinstance(num_tokens, int) else 0
        self.groups += len(getattr(spec, "groups", ()))
        self.credit_micro += price_of(grant, num_tokens)

    def outcomes(self) -> str:
        """How the leases ended, in words."""
        ended = sorted(self.works.items())
        return ", ".join(f"{number} {outcome}" for outcome, number in ended) or "no work yet"

    def earnings(self) -> str:
        """Credits since the agent started, and with what was earned before; empty for the trusted role."""
        if self.is_unpaid:
            return ""
        here = f"{self.credit_micro / 1e6:.6f} credits here"
        if self.before_micro is None:
            return here
        return f"{here}, {(self.before_micro + self.credit_micro) / 1e6:.6f} in all"

    def rate(self) -> str:
        """What was sampled, and how fast while the child worked; empty where nothing was (a trusted role)."""
        if not self.groups:
            return ""
        per_s = self.tokens / self.busy_s if self.busy_s else 0.0
        return (
            f"{counted(self.groups, 'group')}, {counted(self.tokens, 'token')} ({per_s:.0f}/s busy)"
        )


def price_of(grant: LeaseGranted, num_tokens: Any) -> int:
    """Micro-credits for an accepted answer: the lease's price, or that of its tokens where a market found one."""
    if grant.per_million_micro is None or not isinstance(num_tokens, int):
        return grant.price_micro
    return min(grant.per_million_micro * num_tokens // 10**6, grant.price_micro)


class TotalsCollector:
    """Shows an agent's totals to Prometheus."""

    def __init__(self, totals: Totals) -> None:
        """Of the only agent; those of several labs are `figures.SeveralCollector`'s."""
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        return families({(): self._totals}, ())


def families(totals: Mapping[tuple[str, ...], Totals], labels: tuple[str, ...]) -> Iterable[Metric]:
    """Metric families of these totals, each under its values of the labels."""
    works = CounterMetricFamily(
        "archipel_node_works", "Leases by outcome", labels=(*labels, "outcome")
    )
    versions = GaugeMetricFamily(
        "archipel_node_policy_version",
        "Policy version of the newest work",
        labels=(*labels, "run"),
    )
    numbers = [(family(name, text, labels=labels), of) for family, name, text, of in _NUMBERS]
    for values, each in totals.items():
        for outcome, number in list(each.works.items()):
            works.add_metric((*values, outcome), number)
        for run, version in list(each.versions.items()):
            versions.add_metric((*values, run), version)
        for family, of in numbers:
            family.add_metric(values, of(each))
    return (works, *(family for family, _ in numbers), versions)


_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]
_NUMBERS: tuple[tuple[_Family, str, str, Callable[[Totals], float]], ...] = (
    (CounterMetricFamily, "archipel_node_tokens", "Tokens sampled", lambda of: of.tokens),
    (
        GaugeMetricFamily,
        "archipel_node_tokens_at_hand",
        "Tokens sampled for the work that is being done",
        lambda of: of.tokens_at_hand,
    ),
    (CounterMetricFamily, "archipel_node_groups", "Groups sampled", lambda of: of.groups),
    (
        CounterMetricFamily,
        "archipel_node_busy_seconds",
        "Time the child worked",
        lambda of: of.busy_s,
    ),
    (
        CounterMetricFamily,
        "archipel_node_waiting_seconds",
        "Time spent waiting for work",
        lambda of: of.waiting_s,
    ),
)
