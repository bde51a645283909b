"""`archipel bench peers`: beside TRL's GRPOTrainer, from equal samples on equal cores."""

from dataclasses import replace
from pathlib import Path

import click

from archipel.cli.outputs import PICTURE

DEFAULT_VENV = "~/.cache/archipel/peers"


@click.command("peers")
@click.option("--recipe", "recipe_name", default="secret-order", show_default=True)
@click.option("--seeds", type=click.IntRange(1, 11), help="Seeds [default: 5; quick: 2].")
@click.option("--updates", type=click.IntRange(5, 100_000), help="Updates per arm [80; 40].")
@click.option(
    "--target",
    type=click.FloatRange(0.0, 1.0),
    help="Held-out greedy accuracy to reach [0.9; 0.5].",
)
@click.option("--nodes", type=click.IntRange(1, 16), help="Nodes of the distributed arm [2].")
@click.option("--quick", is_flag=True, help="Two seeds, 40 updates: about five minutes.")
@click.option(
    "--venv",
    type=click.Path(path_type=Path),
    default=DEFAULT_VENV,
    show_default=True,
    help="TRL's virtual environment, made on first use (about 1 GB).",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [runs/peers-TIME].")
@click.option("--png", type=PICTURE, help="Draw accuracy over time here.")
@click.option("--json", "as_json", is_flag=True, help="For machines: every arm.")
def command(
    recipe_name: str,
    seeds: int | None,
    updates: int | None,
    target: float | None,
    nodes: int | None,
    quick: bool,
    venv: Path,
    out: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Train one recipe with TRL's GRPOTrainer, centrally and over a lab and nodes, and compare.

    The arms take turns on the same two cores. Leave the machine alone meanwhile: wall-clock is measured.

    \b
    Examples:
      archipel bench peers --quick
      archipel bench peers --png peers.png
      archipel bench peers --venv /srv/trl --json
    """
    import sys
    import time

    from archipel.bench.peers import QUICK, Arm, Meeting, PeersPlan, Tools
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.peers_report import draw, save, table, to_json
    from archipel.bench.peers_setup import PeerUnavailable, peer_python
    from archipel.bench.peers_trl import Unlike
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if quick else PeersPlan()
    plan = replace(
        plan,
        seeds=tuple(range(seeds)) if seeds else plan.seeds,
        updates=updates or plan.updates,
        target=plan.target if target is None else target,
        nodes=nodes or plan.nodes,
    )
    folder = out or Path("runs") / time.strftime("peers-%Y%m%d-%H%M%S")
    began = time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f}s  {text}", err=True)

    def on_arm(arm: Arm) -> None:
        reached = arm.seconds_to(plan.target)
        tell(
            f"seed {arm.seed}  {arm.arm:<11}  {arm.train_s:6.1f} s wall  {arm.cpu_s:6.1f} s processor"
            f"  greedy {arm.judged[-1].greedy:.3f}  reward {arm.judged[-1].reward:.3f}"
            f"  {plan.target:g} after {'-' if reached is None else f'{reached:.1f} s'}"
        )

    with mending(PeerUnavailable, PeerFailed, SiteFailed, Unlike, OSError):
        tell("TRL's environment")
        theirs = peer_python(venv.expanduser().absolute())
        tools = Tools(Path(sys.executable), theirs, child_environment())
        meeting = Meeting(find_recipe(recipe_name), plan, folder, tools)
        arms = meeting.measure(lambda what, s: tell(f"{s * 1000:6.0f} ms/update  {what}"), on_arm)
    values = to_json(arms, plan.target, meeting.tuned)
    save(values, folder / "peers.json")
    if png is not None:
        draw(arms, png)
    show(values, as_json, lambda: table(arms, plan.target))
