"""The demo with a real pretrained model, as acts: import, a lab and two unequal nodes, learning, collecting.

What `demo.story` does for the tiny model from nothing. Each act looks first whether it is done: after Ctrl-C
the same folder goes on where it was, with the lab's own ledger and the learner's own checkpoints.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from archipel.bench.processor import tree_memory
from archipel.bench.real_tasks import TASKS, NumberTask, write_questions
from archipel.bench.site import Site, SiteFailed
from archipel.demo.plan import FAST, REAL_CAST, SLOW, RealPlan
from archipel.demo.story import progress_line
from archipel.model.gguf_import import import_gguf
from archipel.records.documents import NodeView, RunView
from archipel.records.recipe import Recipe
from archipel.records.statements import Recorded

Tell = Callable[[str], None]
POLL_S = 1.0
SETTLE_LIMIT_S = 900.0
GIGABYTE = 1e9


@dataclass
class RealPerformance:
    """What the acts leave behind for the ending."""

    plan: RealPlan
    recipe: Recipe
    run: RunView | None = None
    nodes: dict[str, NodeView] = field(default_factory=dict)
    dids: dict[str, str] = field(default_factory=dict)
    history: list[tuple[int, Recorded]] = field(default_factory=list)
    memory: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Process -> (version, bytes resident when it was first seen)."""

    @property
    def ended(self) -> RunView:
        """The run at its end. Raises SiteFailed: it has not ended."""
        if self.run is None:
            raise SiteFailed("the run has not ended")
        return self.run

    @property
    def task(self) -> NumberTask:
        """What is learned."""
        return TASKS[self.plan.task]

    @property
    def start(self) -> Path:
        """Model directory before."""
        return self.plan.folder / "start"

    @property
    def trained(self) -> Path:
        """Model directory after."""
        return self.plan.folder / "trained"


def with_questions(recipe: Recipe, plan: RealPlan) -> Recipe:
    """The recipe on the plan's task, whose file is written into its folder."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = (plan.folder / f"{plan.task}.jsonl").absolute()
    write_questions(TASKS[plan.task], path)
    section = recipe.environment
    environment = section.model_copy(
        update={"parameters": {**section.parameters, "path": str(path)}}
    )
    run = recipe.run.model_copy(update={"seed": plan.seed})
    return recipe.model_copy(update={"environment": environment, "run": run})


def perform_real(
    plan: RealPlan, recipe: Recipe, environment: Mapping[str, str], tell: Tell
) -> RealPerformance:
    """Play the acts up to the trained model.

    Raises:
        SiteFailed: a process died or an act took too long.
        BadGguf, NoDequantiser: the model's file cannot be used.
    """
    show = RealPerformance(plan, with_questions(recipe, plan))
    import_start(show, tell)
    with Site(plan.folder / "site", environment) as site:
        site.start_lab()
        tell(f"lab at {site.url}; starting an update process and nodes {FAST}, {SLOW}")
        options = ["--dtype", "bfloat16"]
        show.dids["update"] = site.start_update()
        show.dids[FAST] = site.start_node(FAST, options)
        show.dids[SLOW] = site.start_node(SLOW, [*options, "--duty", str(plan.slow_duty)])
        if site.run(show.recipe.run.name) is None:
            site.open_run(show.recipe, show.start, ("update",))
        _learn(show, site, tell)
        _collect(show, site, tell)
    return show


def import_start(show: RealPerformance, tell: Tell) -> None:
    """The model's file as the directory that the run starts from."""
    if show.start.exists():
        tell(f"going on with what is in {show.plan.folder}")
        return
    if show.plan.model.is_dir():
        show.start.symlink_to(show.plan.model.resolve(), target_is_directory=True)
        return
    done = import_gguf(show.plan.model, show.start, torch.bfloat16, lambda at, total: None)
    tell(
        f"imported {done.name or show.plan.model.name}: {done.parameters / 1e6:.0f}M parameters, licence "
        f"{done.licence or 'not stated'} -> {show.start}"
    )


def _learn(show: RealPerformance, site: Site, tell: Tell) -> None:
    name, deadline, told = show.recipe.run.name, time.monotonic() + show.plan.limit_s, -1
    tell(
        f"run {name}: {show.recipe.run.versions} versions in the model's own chat template, "
        f"staleness at most {show.recipe.run.max_staleness}"
    )
    while (run := site.run(name)) is None or run.phase != "complete":
        site.check_alive()
        if time.monotonic() > deadline:
            raise SiteFailed(f"no end after {show.plan.limit_s:.0f} s: {site.get('/waits')}")
        if run is not None and run.version > told:
            told = run.version
            _note_memory(show, site, told)
            tell(f"{progress_line(run)}  {_memory_words(show)}")
        time.sleep(POLL_S)
    tell(progress_line(run))
    _note_memory(show, site, run.version)


def _note_memory(show: RealPerformance, site: Site, version: int) -> None:
    for process, pid in site.pids().items():
        show.memory.setdefault(process, []).append((version, tree_memory(pid)))


def _memory_words(show: RealPerformance) -> str:
    now = ", ".join(f"{who} {rows[-1][1] / GIGABYTE:.1f}" for who, rows in show.memory.items())
    return f"GB: {now}"


def _collect(show: RealPerformance, site: Site, tell: Tell) -> None:
    """Wait for the last evaluation, fetch the weights and read the whole ledger."""
    name, last = show.recipe.run.name, show.recipe.run.versions
    tell("the last evaluation")

    def judged() -> bool:
        run = site.run(name)
        return run is not None and any(exam["version"] == last for exam in run.evaluations)

    site.wait_until(judged, "the last evaluation", SETTLE_LIMIT_S)
    show.run = site.run(name)
    views = site.nodes()
    show.nodes = {who: views[show.dids[who]] for who in REAL_CAST if show.dids[who] in views}
    if not show.trained.exists():
        site.fetch_weights(name, None, show.trained, merge=True)
    show.history = site.history()
    (show.plan.folder / "run.json").write_text(show.ended.model_dump_json(indent=2))
