"""`archipel bench peers`: beside TRL's GRPOTrainer, from equal samples on equal cores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    PNG,
    RECIPE,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)

DEFAULT_VENV = "~/.cache/archipel/peers"


@click.command("peers")
@RECIPE
@seeds_option("default: 5; quick: 2")
@click.option("--updates", type=click.IntRange(5, 100_000), help="Updates per arm [80; 40].")
@click.option(
    "--target",
    type=click.FloatRange(0.0, 1.0),
    help="Held-out greedy accuracy to reach [0.9; 0.5].",
)
@click.option("--nodes", type=click.IntRange(1, 16), help="Nodes of the distributed arm [2].")
@quick_option("Two seeds, 40 updates: about five minutes.")
@click.option(
    "--venv",
    type=click.Path(path_type=Path),
    default=DEFAULT_VENV,
    show_default=True,
    help="TRL's virtual environment, made on first use (about 1 GB).",
)
@out_option("peers")
@PNG
@JSON
def command(
    recipe_name: str, venv: Path, out: Path | None, png: Path | None, as_json: bool, **given: Any
) -> None:
    """Train one recipe with TRL's GRPOTrainer, centrally and over a lab and nodes, and compare.

    The arms take turns on the same two cores. Leave the machine alone meanwhile: wall-clock is measured.

    \b
    Examples:
      archipel bench peers --quick
      archipel bench peers --png peers.png
      archipel bench peers --venv /srv/trl --json

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    import sys

    from archipel.bench.peers import QUICK, Arm, Meeting, PeersPlan, Tools
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.peers_report import arm_line, draw, save, table, to_json
    from archipel.bench.peers_setup import PeerUnavailable, peer_python
    from archipel.bench.peers_trl import Unlike
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if given["quick"] else PeersPlan()
    plan = replace(plan, **chosen(plan, given, "updates", "target", "nodes"))
    folder, tell = out_folder(out, "peers"), teller()
    arms: list[Arm] = []
    tuned: dict[str, float] = {}

    def on_tuned(what: str, per_update_s: float) -> None:
        tuned[what] = per_update_s
        tell(f"{per_update_s * 1000:6.0f} ms/update  {what}")

    def on_arm(arm: Arm) -> None:
        arms.append(arm)
        tell(arm_line(arm, plan.target))

    def finish() -> None:
        values = to_json(arms, plan.target, tuned)
        if arms:
            save(values, folder / "peers.json")
        if arms and png is not None:
            draw(arms, png)
        show(values, as_json, lambda: table(arms, plan.target))

    failures = (PeerUnavailable, PeerFailed, SiteFailed, Unlike, OSError, ValueError)
    with mending(*failures), whatever_ends(folder, tell, finish):
        tell("TRL's environment")
        theirs = peer_python(venv.expanduser().absolute())
        tools = Tools(Path(sys.executable), theirs, child_environment())
        Meeting(find_recipe(recipe_name), plan, folder, tools).measure(on_tuned, on_arm)
