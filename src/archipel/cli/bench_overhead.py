"""`archipel bench overhead`: what distributing a run costs beside its training."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.benches import (
    JSON,
    RECIPE,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)

if TYPE_CHECKING:
    from archipel.bench.overhead import OverheadPlan


@click.command("overhead")
@RECIPE
@click.option(
    "--size",
    type=click.Choice(["demo", "30m"]),
    default="demo",
    show_default=True,
    help="Of the model.",
)
@seeds_option("demo: 5; 30m: 3; quick: 2; 1")
@click.option("--updates", type=click.IntRange(5, 100_000), help="Updates per arm.")
@click.option("--groups", type=click.IntRange(1, 65_536), help="Groups an update [30m: 128].")
@click.option("--nodes", type=click.IntRange(1, 16), help="Nodes of the distributed arm [2].")
@click.option("--staleness", type=click.IntRange(0, 64), help="Bound of the distributed arm [2].")
@quick_option("Fewer seeds and updates: about two minutes at demo size.")
@out_option("overhead")
@JSON
def command(recipe_name: str, size: str, out: Path | None, as_json: bool, **given: Any) -> None:
    """Run one recipe centrally and over a lab and nodes; compare processor time, count requests and bytes.

    \b
    Examples:
      archipel bench overhead --quick
      archipel bench overhead --size 30m --groups 512
      archipel bench overhead --staleness 0 --seeds 1 --json

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    import sys

    from archipel.bench.overhead import Arm, Expense
    from archipel.bench.overhead_report import save, table, to_json
    from archipel.bench.overhead_sizes import of_size
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    plan, folder, tell = _plan(size, given), out_folder(out, "overhead"), teller()

    arms: list[Arm] = []

    def on_arm(arm: Arm) -> None:
        arms.append(arm)
        cost = f"{arm.ms_per_update:7.1f} ms  {arm.requests_per_update:5.2f} requests an update"
        tell(f"seed {arm.seed}  {arm.arm:<11} {cost}")

    def finish() -> None:
        if arms:
            save(arms, folder / "overhead.json")
        show(to_json(arms), as_json, lambda: table(arms))

    with (
        mending(PeerFailed, SiteFailed, OSError, ValueError),
        whatever_ends(folder, tell, finish),
    ):
        recipe = of_size(find_recipe(recipe_name), size, given["groups"])
        Expense(recipe, plan, folder, Path(sys.executable), child_environment()).measure(on_arm)


def _plan(size: str, given: dict[str, Any]) -> "OverheadPlan":
    """What was asked for; at S = 0 the weights of both arms are compared too."""
    from archipel.bench.overhead import LARGE, LARGE_QUICK, QUICK, OverheadPlan

    small, large = (QUICK, LARGE_QUICK) if given["quick"] else (OverheadPlan(), LARGE)
    plan = small if size == "demo" else large
    plan = replace(plan, **chosen(plan, given, "updates", "nodes", "staleness"))
    return replace(
        plan, warm_up=min(plan.warm_up, plan.updates // 3), with_weights=given["staleness"] == 0
    )
