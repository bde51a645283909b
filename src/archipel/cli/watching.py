"""The live terminal view of a lab's runs and nodes."""

import asyncio
import itertools
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from archipel.identity import Identity
from archipel.node.client import LabClient
from archipel.node.exchange import LabUnreachable

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60


async def watch_runs(lab_url: str, name: str | None, every_s: float) -> None:
    """Redraw until interrupted, or until every watched run is over."""
    client = LabClient(lab_url, Identity.from_seed(bytes(32)))  # asking needs no key
    try:
        with Live(Text("asking the lab ..."), refresh_per_second=8) as live:
            while True:
                try:
                    runs = (
                        [await client.get(f"/runs/{name}")] if name else await client.get("/runs")
                    )
                    nodes, waits = await client.get("/nodes"), await client.get("/waits")
                except LabUnreachable as error:
                    live.update(Text(f"no answer: {error}; trying again", style="red"))
                else:
                    live.update(picture(runs, nodes, waits))
                    if runs and all(run["phase"] in ("complete", "stopped") for run in runs):
                        return
                await asyncio.sleep(every_s)
    finally:
        await client.close()


def picture(
    runs: list[dict[str, Any]], nodes: list[dict[str, Any]], waits: list[dict[str, Any]]
) -> Group:
    """Runs, nodes and what is being waited for."""
    parts: list[Any] = [_runs_table(runs)]
    parts += [Text(f"reward {run['run']}  {sparkline(run['rewards'])}") for run in runs]
    parts.append(_nodes_table(nodes))
    parts += [Text(f"waiting: {wait['run']}: {wait['waiting_for']}", style="dim") for wait in waits]
    return Group(*parts)


def sparkline(values: list[float]) -> str:
    """The values in [0, 1] as a row of blocks, averaged down to the width of a line."""
    if not values:
        return "(no update yet)"
    width = min(SPARK_WIDTH, len(values))
    edges = [len(values) * n // width for n in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    blocks = (SPARKS[min(int(max(mean, 0) * len(SPARKS)), len(SPARKS) - 1)] for mean in means)
    return "".join(blocks) + f" {values[-1]:.3f}"


def _runs_table(runs: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "run",
        "phase",
        "version",
        "reward",
        "staleness",
        "learner",
        "groups",
        "in flight",
        "MB in",
    ):
        table.add_column(title, justify="left" if title in ("run", "phase") else "right")
    for run in runs:
        reward = "-" if run["reward"] is None else f"{run['reward']:.3f}"
        staleness = " ".join(f"{age}:{count}" for age, count in run["staleness"].items())
        table.add_row(
            run["run"],
            run["phase"],
            f"{run['version']}/{run['versions']}",
            reward,
            staleness or "-",
            f"{run['learner_utilisation']:.0%}",
            str(run["groups_accepted"]),
            str(run["groups_in_flight"]),
            f"{run['rollout_bytes'] / 1e6:.2f}",
        )
    return table


def _nodes_table(nodes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("node", "kinds", "groups", "tokens", "groups/s", "credits", "silent", "expired"):
        table.add_column(title, justify="left" if title in ("node", "kinds") else "right")
    for node in nodes:
        table.add_row(
            node["node"][-12:],
            ",".join(node["kinds"]),
            str(node["groups"]),
            str(node["tokens"]),
            f"{node['groups_per_s']:.1f}",
            f"{node['credit_micro'] / 1e6:.4f}",
            f"{node['silent_s']:.0f} s",
            str(node["expired"]),
        )
    return table
