"""The live terminal view of a lab's runs and nodes."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from archipel.node.client import LabReader
from archipel.node.exchange import LabUnreachable
from archipel.records.documents import NodeView, RunView, Wait

OVER = ("complete", "stopped")
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60
MAX_NODES_SHOWN = 100


async def watch_runs(lab_url: str, name: str | None, every_s: float) -> None:
    """Redraw until interrupted, or until every watched run is over."""
    async with LabReader(lab_url) as lab:
        with Live(Text("asking the lab ..."), refresh_per_second=8) as live:
            while True:
                try:
                    runs = (
                        [await lab.read(RunView, f"/runs/{name}")]
                        if name
                        else await lab.read_all(RunView, "/runs")
                    )
                    nodes = await lab.read_all(NodeView, "/nodes", limit=MAX_NODES_SHOWN)
                    waits = await lab.read_all(Wait, "/waits")
                except LabUnreachable as error:
                    live.update(Text(f"no answer: {error}; trying again", style="red"))
                else:
                    live.update(picture(runs, nodes, waits))
                    if runs and all(run.phase in OVER for run in runs):
                        return
                await asyncio.sleep(every_s)


def picture(runs: Sequence[RunView], nodes: Sequence[NodeView], waits: Sequence[Wait]) -> Group:
    """Runs, nodes and what is being waited for."""
    parts: list[Any] = [_runs_table(runs)]
    parts += [Text(f"reward {run.run}  {sparkline(run.rewards)}") for run in runs]
    parts += [Text(f"{run.run}: {_progress(run)}") for run in runs]
    parts.append(_nodes_table(nodes))
    parts += [Text(f"waiting: {wait.run}: {wait.waiting_for}", style="dim") for wait in waits]
    return Group(*parts)


def sparkline(values: Sequence[float]) -> str:
    """The values in [0, 1] as a row of blocks, averaged down to the width of a line."""
    if not values:
        return "(no update yet)"
    width = min(SPARK_WIDTH, len(values))
    edges = [len(values) * n // width for n in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    blocks = (SPARKS[min(int(max(mean, 0) * len(SPARKS)), len(SPARKS) - 1)] for mean in means)
    return "".join(blocks) + f" {values[-1]:.3f}"


def _runs_table(runs: Sequence[RunView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("run", "phase", "version", "reward", "learner", "credits"):
        table.add_column(title, justify="left" if title in ("run", "phase") else "right")
    for run in runs:
        table.add_row(
            run.run,
            run.phase,
            f"{run.version}/{run.versions}",
            "-" if run.reward is None else f"{run.reward:.3f}",
            f"{run.learner_utilisation:.0%}",
            f"{run.spent_micro / 1e6:.4f}",
        )
    return table


def _progress(run: RunView) -> str:
    """What the run's programme counts, in its own words."""
    return "  ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in run.progress.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}:{count}" for key, count in value.items()) or "-"
    return str(value)


def _nodes_table(nodes: Sequence[NodeView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("node", "kinds", "groups", "tokens", "groups/s", "credits", "silent", "expired"):
        table.add_column(title, justify="left" if title in ("node", "kinds") else "right")
    for node in nodes:
        table.add_row(
            node.node[-12:],
            ",".join(node.kinds),
            str(node.groups),
            str(node.tokens),
            f"{node.groups_per_s:.1f}",
            f"{node.credit_micro / 1e6:.4f}",
            f"{node.silent_s:.0f} s",
            str(node.expired),
        )
    return table
