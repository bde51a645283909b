"""Watching a lab: what is asked of it again and again, and the live view of that for a terminal.

Parts: `Scene` (one look at a lab), `Watcher` (takes it, remembering the versions it has seen), `picture`.
A terminal gets a picture that is drawn anew; anything else gets a line per version (`following`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from archipel.cli.run_words import (
    NOT_INVARIANT,
    OVER,
    capacity_words,
    greedy_words,
    in_order,
    part_words,
    place_words,
    progress_words,
    sparkline,
    version_words,
)
from archipel.curves.concerns import Concern, concerns
from archipel.curves.history import History
from archipel.node.client import LabReader
from archipel.node.exchange import LabUnreachable
from archipel.node.histories import RunReader, all_runs
from archipel.records.documents import NodeView, RunView, Wait

MAX_NODES_ASKED = 100
NEWEST_VERSIONS = 64
"""Read of a run that was not watched before: enough for every warning."""
GONE_S = 600.0
"""A node silent for this long is counted, not listed."""
WIDE, MEDIUM = 100, 64
"""Terminal widths from which more columns are shown."""
SPARK_MARGIN = 12


@dataclass(frozen=True)
class Scene:
    """One look at a lab."""

    runs: Sequence[RunView]
    nodes: Sequence[NodeView]
    waits: Sequence[Wait]
    histories: Mapping[str, History] = field(default_factory=dict)
    """Run -> its measurements, for runs that are not over or were asked for by name."""

    def warnings(self, run: str) -> list[Concern]:
        """What goes wrong in a run."""
        return concerns(self.histories[run]) if run in self.histories else []


class Watcher:
    """Looks at one lab, at all of its runs or at one."""

    def __init__(self, lab: LabReader, name: str | None, newest: int | None) -> None:
        """newest: versions to read of a run never seen before; None for all that the lab keeps."""
        self._lab = lab
        self._name = name
        self._newest = newest
        self._readers: dict[str, RunReader] = {}

    async def look(self) -> Scene:
        """Raises LabUnreachable, LabRefused."""
        lab = self._lab
        if self._name is not None:
            runs = [await lab.read(RunView, f"/runs/{self._name}")]
        else:
            runs = await all_runs(lab)
        nodes = await lab.read_all(NodeView, "/nodes", limit=MAX_NODES_ASKED)
        waits = await lab.read_all(Wait, "/waits")
        wanted = [
            run
            for run in runs
            if self._name or run.phase not in OVER or run.run in self._readers  # saw it end
        ]
        histories = {run.run: await self._history(run) for run in wanted}
        return Scene(runs, nodes, waits, histories)

    async def _history(self, run: RunView) -> History:
        reader = self._readers.setdefault(run.run, RunReader(self._lab, run.run))
        return await reader.history(run, self._newest)


async def watch_runs(lab_url: str, name: str | None, every_s: float) -> None:
    """Redraw until interrupted, or until every watched run is over."""
    async with LabReader(lab_url) as lab:
        watcher, console = Watcher(lab, name, NEWEST_VERSIONS), Console()
        with Live(Text("asking the lab ..."), console=console, refresh_per_second=8) as live:
            while True:
                try:
                    scene = await watcher.look()
                except LabUnreachable as error:
                    live.update(Text(f"no answer: {error}; trying again", style="red"))
                else:
                    live.update(picture(scene, console.width, console.height))
                    if scene.runs and all(run.phase in OVER for run in scene.runs):
                        return
                await asyncio.sleep(every_s)


def picture(scene: Scene, width: int, height: int) -> Group:
    """Active runs first, then as many nodes as there is room for, then what is over."""
    active = [run for run in in_order(scene.runs) if run.phase not in OVER]
    over = [run for run in in_order(scene.runs) if run.phase in OVER]
    parts: list[Text | Table] = []
    for run in active or over[:1]:
        parts += _run_lines(scene, run, width)
    tail = [_over_line(scene, run) for run in over if active or run is not over[0]]
    used = len(parts) + min(len(tail), 3) + 3
    parts += _nodes(scene.nodes, width, max(height - used, 3))
    return Group(*parts, *tail)


def _run_lines(scene: Scene, run: RunView, width: int) -> list[Text | Table]:
    head = Text(run.run, style="bold")
    facts = [run.phase, version_words(run.version, run.versions)]
    facts += [f"by {run.backend}, {NOT_INVARIANT}"] if run.backend else []
    facts += [] if run.reward is None else [f"reward {run.reward:.3f}"]
    facts += [greedy_words(run)] if run.evaluations else []
    facts += [f"learner {run.learner_utilisation:.0%}", _credits(run)]
    head.append("  " + "  ".join(facts), style="not bold")
    lines: list[Text | Table] = [head]
    lines.append(Text(f"  {sparkline(run.rewards, width - SPARK_MARGIN)}"))
    if width >= MEDIUM:
        lines.append(Text(f"  {progress_words(run)}"))
        lines += [Text(f"  {words}") for words in part_words(scene.histories.get(run.run))]
    lines += [Text(f"  nodes: {words}") for words in capacity_words(run.capacity)]
    lines += [Text(f"  failing: {trouble}", style="bold red") for trouble in run.troubles]
    lines += [Text(f"  verdict: {words}", style="bold red") for words in run.verdicts]
    lines += [
        Text(f"  warning, {concern.kind}: {concern.text}", style="bold yellow")
        for concern in scene.warnings(run.run)
    ]
    lines += [
        Text(f"  waiting: {wait.waiting_for}", style="dim")
        for wait in scene.waits
        if wait.run == run.run
    ]
    return lines


def _credits(run: RunView) -> str:
    """What it cost, and what is left of what was set aside for it."""
    left = "" if run.left_micro is None else f", {run.left_micro / 1e6:.4f} left"
    return f"credits {run.spent_micro / 1e6:.4f}{left}"


def _over_line(scene: Scene, run: RunView) -> Text:
    reward = "" if run.reward is None else f"  reward {run.reward:.3f}"
    exam = f"  {greedy_words(run)}" if run.evaluations else ""
    version = version_words(run.version, run.versions)
    kinds = ", ".join(concern.kind for concern in scene.warnings(run.run))
    warned = f"  warnings: {kinds}" if kinds else ""
    text = f"{run.run}  {run.phase}  {version}{reward}{exam}{warned}"
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _nodes(nodes: Sequence[NodeView], width: int, room: int) -> list[Text | Table]:
    """A table of those that are there, the busiest first, and a count of the others."""
    there = [node for node in nodes if node.leases or (node.present and node.silent_s < GONE_S)]
    there.sort(key=lambda node: (not node.leases, -node.groups, node.node))
    shown = there[:room]
    parts: list[Text | Table] = [_nodes_table(shown, width)] if shown else []
    more, gone = len(there) - len(shown), len(nodes) - len(there)
    counts = [f"{more} more at work"] if more else []
    counts += [f"{gone} gone"] if gone else []
    if counts or not nodes:
        parts.append(Text(f"nodes: {', '.join(counts) or 'none yet'}", style="dim"))
    return parts


def _nodes_table(nodes: Iterable[NodeView], width: int) -> Table:
    columns = ["node", "groups", "groups/s", "silent"]
    if width >= MEDIUM:
        columns += ["credits", "expired"]
    if width >= WIDE:
        columns[1:1] = ["kinds"]
        columns += ["tokens", "place"]
    table = Table(box=None, pad_edge=False)
    for title in columns:
        left = title in ("node", "kinds", "place")
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    for node in nodes:
        cells = _cells(node)
        table.add_row(*(cells[title] for title in columns))
    return table


def _cells(node: NodeView) -> dict[str, Any]:
    return {
        "node": node.node[-12:],
        "kinds": ",".join(node.kinds),
        "groups": str(node.groups),
        "tokens": str(node.tokens),
        "place": "; ".join(sorted({place_words(each) for each in node.places})),
        "groups/s": f"{node.groups_per_s:.1f}",
        "credits": f"{node.credit_micro / 1e6:.4f}",
        "silent": f"{node.silent_s:.0f} s",
        "expired": str(node.expired),
    }
