"""Our distributed arm: a real lab, update process and nodes on this machine, timed by the ledger.

The clock starts when version 0 is published (the state in which the other arms start) and a version's
time is that of its publication. Loading programs and making version 0 is set-up; the nodes' first
fetch of weights is not. Law: nothing but the run itself works while it is timed.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from archipel.bench.peers_job import Result
from archipel.bench.processor import tree_seconds
from archipel.bench.site import Site, SiteFailed
from archipel.model.directory import read_model
from archipel.records.documents import RunView
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.recipe import Recipe
from archipel.records.statements import WorkAnswered

RUN_LIMIT_S = 3600.0
JOIN_LIMIT_S = 120.0
LOOK_S = 0.25
"""Between looks at the run: rare, because the lab that answers shares the cores."""
UPDATE_ONLY = ("--kinds", "update")
"""No evaluations beside training: the judge comes afterwards, as for the other arms."""


def train(
    recipe: Recipe, secret: bytes, start: Path, folder: Path, environment: Mapping[str, str],
    nodes: int,
) -> tuple[Result, dict[int, dict[str, Tensor]]]:  # fmt: skip
    """Run the recipe over `nodes` nodes; the result and the weights of the versions to be judged.

    Raises:
        SiteFailed: a process died or the run did not end in time.
    """
    name = recipe.run.name
    began = time.perf_counter()
    with Site(folder, environment) as site:
        site.start_lab()
        if recipe.environment.secret is not None:
            site.keep_secret("update", recipe.environment.secret, secret)
        site.start_update(options=UPDATE_ONLY)
        for number in range(nodes):
            site.start_node(f"node-{number}")
        joined = lambda: len(site.nodes()) == nodes + 1  # noqa: E731  reads as a word
        site.wait_until(joined, "everybody to join", JOIN_LIMIT_S)
        started_s = time.perf_counter() - began
        opened = time.perf_counter()
        site.open_run(recipe, start, ("update",))
        _wait(site, name, 0)
        constructed_s = time.perf_counter() - opened
        cpu_s = tree_seconds()
        _wait(site, name, recipe.run.versions)
        cpu_s = tree_seconds() - cpu_s
        times = _published(site)
        every = recipe.evaluation.every
        judged = [version for version in times if version % every == 0 and version > 0]
        states = {version: _fetch(site, name, version) for version in judged}
        rewards = _wait(site, name, recipe.run.versions).rewards
    share = cpu_s / max(times[recipe.run.versions] - times[0], 1e-9)
    points = tuple(
        (version, at_s - times[0], (at_s - times[0]) * share)
        for version, at_s in sorted(times.items())
        if version > 0
    )
    return Result("archipel, distributed", started_s, constructed_s, points, rewards), states


def _wait(site: Site, name: str, version: int) -> RunView:
    """The run, once it has reached `version`."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while (run := site.run(name)) is None or run.version < version:
        site.check_alive()
        if time.monotonic() > deadline:
            raise SiteFailed(f"{name} is not at version {version} after {RUN_LIMIT_S:.0f} s")
        time.sleep(LOOK_S)
    return run


def _published(site: Site) -> dict[int, float]:
    """Version -> second at which the ledger took it in; the site has one run."""
    return {
        said.answer.version: at_ms / 1000
        for at_ms, said in site.history()
        if isinstance(said, WorkAnswered) and isinstance(said.answer, UpdateAnswer)
        if said.answer.more is None
    }


def _fetch(site: Site, name: str, version: int) -> dict[str, Tensor]:
    out = site.folder / "export" / f"version-{version}"
    site.fetch_weights(name, version, out)
    return {key: value.detach() for key, value in read_model(out).named_parameters()}
