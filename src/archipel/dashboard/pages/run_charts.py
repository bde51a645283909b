"""The curves of one run: how well, how fresh, how fast, for how much. Pure."""

from collections.abc import Sequence
from itertools import pairwise

from archipel.dashboard.pages.asked import Sight
from archipel.dashboard.pages.charts import MOST, Legend, by_version, rounded
from archipel.dashboard.pages.value import Chart, Line
from archipel.dashboard.pages.wording import MICRO
from archipel.dashboard.series import Measured, thinned
from archipel.records.documents import RunView
from archipel.records.market_documents import MarketView

MOST_READ = 2000
"""Versions that are read; of a longer run every so many-eth."""
OF_VERSIONS = (
    Legend("reward", "Reward", "mean of the batch", (("reward", "reward"),)),
    Legend("loss", "Loss", "nats", (("loss", "loss"),)),
    Legend("entropy", "Entropy", "nats per token", (("entropy", "entropy"),)),
    Legend(
        "mismatch", "Mismatch of sampler and learner", "nats per token", (("mismatch_kl", "mismatch"),),
        "Divergence of what sampled from what learns.",
    ),
    Legend(
        "staleness", "Staleness", "versions", (("staleness_mean", "mean"), ("staleness_max", "largest")),
        "Versions between the weights that sampled and those that were updated.",
    ),
    Legend(
        "bytes", "Bytes of a version", "bytes",
        (("delta_bytes", "delta"), ("anchor_bytes", "anchor")), is_log=True,
    ),
)  # fmt: skip
OF_EXAMS = (
    Legend("held-out", "Held-out accuracy", "share right", (("greedy", "greedy"),), "The band is its 95% interval."),
    Legend("held-out-loss", "Held-out loss", "nats per token", (("loss", "held-out loss"),)),
)  # fmt: skip


def run_charts(sight: Sight, view: RunView) -> tuple[Chart, ...]:
    """All there are, the most looked at first."""
    series, name = sight.series, view.run
    every = series.measured(name, MOST_READ)
    rows = [every[place] for place in thinned(len(every), MOST)]
    exams = series.examined(name, MOST)
    first, *rest = (by_version(legend, rows) for legend in OF_VERSIONS)
    found = [
        first,
        *(by_version(legend, exams) for legend in OF_EXAMS),
        *rest,
        busy_chart(every),
        cost_chart(rows, central_micro(sight.look.market(name, 1))),
        received_chart(rows),
    ]
    return tuple(each for each in found if each is not None)


def busy_chart(rows: Sequence[Measured]) -> Chart | None:
    """Of the time since the version before, how long a version was under way; None: nowhere are two in a row."""
    points = []
    for before, after in pairwise(rows):
        passed_ms = after.at_ms - before.at_ms
        if after.version == before.version + 1 and after.busy_ms is not None and passed_ms > 0:
            points.append((after, min(after.busy_ms / passed_ms, 1.0)))
    points = [points[place] for place in thinned(len(points), MOST)]
    if not points:
        return None
    return Chart(
        "busy", "Learner busy", "share of the time", "version",
        tuple(float(row.version) for row, _ in points),
        (Line("busy", tuple(rounded(value) for _, value in points)),),
        tuple(row.entry for row, _ in points),
        "From a version's lease to its publication, of the time since the version before.",
    )  # fmt: skip


def cost_chart(rows: Sequence[Measured], central: int | None) -> Chart | None:
    """Credits paid up to each version, beside what the same tokens cost at a data centre. central: as the recipe says."""
    if not rows:
        return None
    lines = [Line("this run", tuple(rounded(each.paid_micro / MICRO) for each in rows))]
    note = "What a central run would cost is not known: the recipe names no market.central_price."
    if central is not None:
        costs = (rounded(each.tokens / MICRO * central / MICRO) for each in rows)
        lines.append(Line("central run", tuple(costs)))
        note = (
            "A central run: the same accepted tokens at the data centre's list price that the recipe names "
            f"({central / MICRO:g} credits per million)."
        )
    xs, entries = tuple(float(each.version) for each in rows), tuple(each.entry for each in rows)
    return Chart("cost", "Paid so far", "credits", "version", xs, tuple(lines), entries, note)


def received_chart(rows: Sequence[Measured]) -> Chart | None:
    """Bytes of accepted answers up to each version."""
    if not any(each.num_bytes for each in rows):
        return None
    xs, entries = tuple(float(each.version) for each in rows), tuple(each.entry for each in rows)
    line = Line("received", tuple(float(each.num_bytes) for each in rows))
    return Chart("received", "Results received so far", "bytes", "version", xs, (line,), entries)


def central_micro(market: MarketView | None) -> int | None:
    """Micro-credits per million tokens at a data centre, as the recipe says; None: it does not."""
    return None if market is None else market.terms.central_micro
