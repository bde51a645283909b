"""`archipel bench overhead`: what distributing a run costs beside its training."""

from dataclasses import replace
from pathlib import Path

import click


@click.command("overhead")
@click.option("--recipe", "recipe_name", default="secret-order", show_default=True)
@click.option("--size", type=click.Choice(["demo", "30m"]), default="demo", show_default=True)
@click.option("--seeds", type=click.IntRange(1, 11), help="Seeds [demo: 5; 30m: 3; quick: 2; 1].")
@click.option("--updates", type=click.IntRange(5, 100_000), help="Updates per arm.")
@click.option("--groups", type=click.IntRange(1, 65_536), help="Groups an update [30m: 128].")
@click.option("--nodes", type=click.IntRange(1, 16), help="Nodes of the distributed arm [2].")
@click.option("--staleness", type=click.IntRange(0, 64), help="Bound of the distributed arm [2].")
@click.option(
    "--quick", is_flag=True, help="Fewer seeds and updates: about two minutes at demo size."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [runs/overhead-TIME].")
@click.option("--json", "as_json", is_flag=True, help="For machines: every arm.")
def command(
    recipe_name: str,
    size: str,
    seeds: int | None,
    updates: int | None,
    groups: int | None,
    nodes: int | None,
    staleness: int | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run one recipe centrally and over a lab and nodes; compare processor time, count requests and bytes.

    \b
    Examples:
      archipel bench overhead --quick
      archipel bench overhead --size 30m --groups 512
      archipel bench overhead --staleness 0 --seeds 1 --json
    """
    import sys
    import time

    from archipel.bench.overhead import (  # fmt: skip
        LARGE,
        LARGE_QUICK,
        QUICK,
        Arm,
        Expense,
        OverheadPlan,
        of_size,
    )
    from archipel.bench.overhead_report import save, table, to_json
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    small, large = (QUICK, LARGE_QUICK) if quick else (OverheadPlan(), LARGE)
    plan = small if size == "demo" else large
    updates = updates or plan.updates
    plan = replace(
        plan,
        seeds=tuple(range(seeds)) if seeds else plan.seeds,
        updates=updates,
        warm_up=min(plan.warm_up, updates // 3),
        nodes=nodes or plan.nodes,
        staleness=plan.staleness if staleness is None else staleness,
        with_weights=staleness == 0,
    )
    folder = out or Path("runs") / time.strftime("overhead-%Y%m%d-%H%M%S")
    began = time.monotonic()

    def on_arm(arm: Arm) -> None:
        click.echo(
            f"{time.monotonic() - began:6.0f}s  seed {arm.seed}  {arm.arm:<11} "
            f"{arm.ms_per_update:7.1f} ms  {arm.requests_per_update:5.2f} requests an update",
            err=True,
        )

    with mending(PeerFailed, SiteFailed, OSError, ValueError):
        recipe = of_size(find_recipe(recipe_name), size, groups)
        arms = Expense(recipe, plan, folder, Path(sys.executable), child_environment()).measure(
            on_arm
        )
    save(arms, folder / "overhead.json")
    show(to_json(arms), as_json, lambda: table(arms))
