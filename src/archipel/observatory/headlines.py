"""Which figures are shown of a snapshot when nobody asks for one: every measure, lag on every benchmark."""

from archipel.observatory.measures.measure import Asked, Measure
from archipel.observatory.measures.table import MEASURES, take
from archipel.observatory.snapshot import Snapshot


def headlines(snapshot: Snapshot) -> dict[str, Measure]:
    """Every measure with its own choice of what is asked, by name; `lag/1 mmlu` for a benchmark's."""
    found: dict[str, Measure] = {}
    for name, (definition, _) in MEASURES.items():
        if "benchmark" in definition.asks:
            for benchmark in sorted({row.benchmark for row in snapshot.scores}):
                found[f"{name} {benchmark}"] = take(name, snapshot, Asked(benchmark=benchmark))
            continue
        found[name] = take(name, snapshot, Asked())
    return found
