"""A door's counts as Prometheus metrics, computed when asked; no name, key, tenant or text is among them."""

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from archipel.door.door import Door

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED = {
    "turns": "Turns of models that were done",
    "operations": "Operations in them",
    "samples": "Samples that were answered",
    "kept": "States of models that were written whole",
    "done_again": "Operations that were done again, from what was kept",
    "came_out_differently": "Of those, the ones that did not come out as they were told",
    "hands_lost": "Times that the hands were lost",
}


def numbers(door: Door) -> dict[str, int]:
    """What is under way, and what was done since the start."""
    journal = door.means.journal
    return {
        "models_held": door.driving.num_held,
        "models_driven": door.driving.num_driven,
        "samples_running": door.sampling.num_running,
        "samples_waiting": door.sampling.num_waiting,
        "polls": len(door.means.wakes),
        "journal_acts": journal.num_acts,
        "journal_commits": journal.num_commits,
        **{name: door.means.counts.get(name, 0) for name in COUNTED},
    }


class _Collector:
    def __init__(self, door: Door, requests: Counter[tuple[str, int]]) -> None:
        self._door, self._requests = door, requests

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        requests = CounterMetricFamily(
            "archipel_door_requests", "Requests", labels=["call", "status"]
        )
        for (call, status), count in sorted(self._requests.items()):
            requests.add_metric([call, str(status)], count)
        yield requests
        for name, value in numbers(self._door).items():
            if name in COUNTED:
                yield CounterMetricFamily(f"archipel_door_{name}", COUNTED[name], value)
            else:
                words = "Now, or since the start for the journal"
                yield GaugeMetricFamily(f"archipel_door_{name}", words, value)


def prometheus_text(door: Door, requests: Counter[tuple[str, int]]) -> bytes:
    """The exposition format. requests: by call and status."""
    registry = CollectorRegistry()
    registry.register(_Collector(door, requests))  # type: ignore[arg-type]  # a collector by shape
    return generate_latest(registry)
