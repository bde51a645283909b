"""`archipel simulate`: a market of thousands of providers, by the lab's own code, in a simulated world."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.outputs import PICTURE

if TYPE_CHECKING:
    from archipel.simulation.scenario import Scenario

TELLS_EVERY_S = 1.5


@click.command("simulate")
@click.argument("scenario", default="small", metavar="[SCENARIO|FILE]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.FIELD=VALUE",
    help="Change the scenario, e.g. crowd.providers=500; repeatable.",
)
@click.option(
    "--constant",
    "constants",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="Replace a figure of the tables, e.g. rental.rtx5090=0.5USD/h; repeatable.",
)
@click.option("--hours", type=click.FloatRange(0.01, 8784), help="Simulated [the scenario's].")
@click.option("--providers", type=click.IntRange(1, 100_000), help="Machines [the scenario's].")
@click.option(
    "--seeds", type=click.IntRange(1, 11), default=1, show_default=True, help="Worlds to average."
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, help="Of the first world [0].")
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True),
    help="A lab's folder or a copy of its ledger: simulate its run by what it measured, and compare.",
)
@click.option("--run", "run_name", help="Which run of --like [its newest].")
@click.option("--png", type=PICTURE, help="Draw it here.")
@click.option(
    "--json", "as_json", is_flag=True, help="For machines: every figure, its interval, every input."
)
def command(
    scenario: str,
    settings: tuple[str, ...],
    constants: tuple[str, ...],
    hours: float | None,
    providers: int | None,
    seeds: int,
    seed: int,
    like: Path | None,
    run_name: str | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Simulate a run over thousands of providers: cost beside a data centre's, staleness, bytes, cheats, earnings.

    Nodes, prices, lines and presence are drawn from the planner's tables; the market, leases, staleness bound, audits
    and payments are the lab's own code, fold and all. Only signatures, blobs and numbers of rollouts are not made.

    \b
    Scenarios: small, crowd (10,000 machines for a day), echo2-4b, echo2-8b, trillion, fan-out (versions to many
    nodes: one to many, mirrors, peers), or a TOML file (its key `like` names one to begin with).
    Ctrl-C prints what there is.

    \b
    Examples:
      archipel simulate
      archipel simulate echo2-8b --seeds 5
      archipel simulate trillion --hours 3 --png trillion.png
      archipel simulate small --set crowd.cheats=0.2 --set 'spreading.way="star"' --json
      archipel simulate --like lab --run demo
    """
    if like is not None:
        from archipel.cli.simulate_like import like_run

        like_run(like, run_name, range(seed, seed + seeds), as_json)
    elif run_name is not None:
        raise click.UsageError("--run names a run of --like; give that too")
    elif scenario == "fan-out":
        from archipel.cli.simulate_fan_out import fan_out

        fan_out(list(settings), as_json, png)
    else:
        changes = [f"hours={hours}"] if hours is not None else []
        changes += [f"crowd.providers={providers}"] if providers is not None else []
        _play(scenario, [*settings, *changes], constants, range(seed, seed + seeds), png, as_json)


def _play(
    name: str,
    settings: list[str],
    constants: tuple[str, ...],
    seeds: range,
    png: Path | None,
    as_json: bool,
) -> None:
    from archipel.cli.benches import teller
    from archipel.cli.doors import mending, show
    from archipel.cli.telling import seldom
    from archipel.market.clearing import CannotClear
    from archipel.planning.mistakes import CannotPlan
    from archipel.planning.tables import shelf
    from archipel.simulation.drawing import draw
    from archipel.simulation.play import Played, play
    from archipel.simulation.report import table, to_json
    from archipel.simulation.scenario import CannotSimulate
    from archipel.simulation.scenarios import with_settings

    played: list[Played] = []
    with mending(CannotSimulate, CannotPlan, CannotClear, OSError):
        scenario = with_settings(_scenario(name), settings)
        tables = shelf()
        for text in constants:
            tables.override(text)
        try:
            for each in play(scenario, tables, seeds, seldom(teller(), TELLS_EVERY_S)):
                played.append(each)  # Ctrl-C keeps these
        finally:
            if played:
                if png is not None:
                    draw(played, png)
                show(to_json(played), as_json, lambda: table(played))


def _scenario(name: str) -> "Scenario":
    from archipel.simulation.scenarios import named, read

    path = Path(name)
    return read(path.read_text("utf-8")) if path.suffix == ".toml" else named(name)
