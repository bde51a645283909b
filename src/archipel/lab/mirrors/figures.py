"""Mirrored labs as Prometheus metrics."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from archipel.records.mirror_documents import FaultKind, MirrorView

FAULTS: tuple[FaultKind, ...] = ("fork", "rollback", "broken")


class MirrorCollector:
    """Turns what was seen of mirrored labs into metric families; nothing where there are none."""

    def __init__(self, views: Sequence[MirrorView], now_ms: int) -> None:
        self._views, self._now_ms = views, now_ms

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        if not self._views:
            return
        entries = _gauge("archipel_mirror_entries", "Entries in the mirror of a lab")
        folded = _gauge(
            "archipel_mirror_folded", "Entries of it that were found to follow the rules"
        )
        silent = _gauge("archipel_mirror_silent_seconds", "How long the lab has not answered")
        kept = _gauge("archipel_mirror_blob_bytes", "Bytes of its blobs that are kept")
        missing = _gauge("archipel_mirror_blobs_missing", "Blobs that a successor needs, not kept")
        faults = GaugeMetricFamily(
            "archipel_mirror_fault", "1: it did that, and it is not over", labels=["mirror", "kind"]
        )
        for view in self._views:
            name, since_ms = [view.name], view.since_ms
            entries.add_metric(name, view.entries)
            folded.add_metric(name, view.folded)
            silent.add_metric(name, max(self._now_ms - since_ms, 0) / 1000 if since_ms else 0)
            kept.add_metric(name, view.blobs.kept_bytes)
            missing.add_metric(name, view.blobs.wanted - view.blobs.kept)
            open_kinds = {each.kind for each in view.faults if each.over_ms is None}
            for kind in FAULTS:
                faults.add_metric([view.name, kind], int(kind in open_kinds))
        yield from (entries, folded, silent, kept, missing, faults)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["mirror"])
