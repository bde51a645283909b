"""`archipel bench train`: our update beside a plain torch loop and TRL's, on one machine."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.benches import (
    JSON,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)

if TYPE_CHECKING:
    from archipel.bench.train import TrainPlan

ARMS = (
    "ours",
    "plain loop",
    "TRL",
    "ours, 8 bit",
    "ours, recomputed",
    "ours, offloaded",
    "ours, all three",
    "ours, LoRA",
)


@click.command("train")
@click.option(
    "--size", "sizes", multiple=True, type=click.Choice(["1m", "30m", "100m", "350m"]),
    help="Parameters; may be given several times [30m, 100m; on a GPU also 350m; quick: one].",
)  # fmt: skip
@click.option(
    "--arm", "arms", multiple=True, type=click.Choice(ARMS),
    help="May be given several times [ours, plain loop, TRL].",
)  # fmt: skip
@click.option(
    "--lengths", multiple=True, type=click.Choice(["uneven", "even"]),
    help="Of completions: uneven after shared prompts, or all alike, where packing saves nothing [both; quick: uneven].",
)  # fmt: skip
@click.option(
    "--dtype", "dtypes", multiple=True, type=click.Choice(["float32", "bfloat16"]),
    help="What is computed in [float32; on a GPU both].",
)  # fmt: skip
@seeds_option("default: 3; quick: 1")
@click.option("--updates", type=click.IntRange(2, 1000), help="The first does not count [5; 3].")
@click.option(
    "--groups", type=click.IntRange(1, 4096), help="Of 8 rollouts, an update [4; GPU 16]."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Of the processor, for every arm [1]."
)
@click.option(
    "--venv", type=click.Path(path_type=Path), default="~/.cache/archipel/peers", show_default=True,
    help="TRL's virtual environment, as `bench peers` makes it; without it TRL is looked for beside this program.",
)  # fmt: skip
@quick_option("One size and seed, 3 updates: some minutes.")
@out_option("train")
@JSON
def command(venv: Path, out: Path | None, as_json: bool, **given: Any) -> None:
    """Measure tokens a second and peak memory of one update: ours, a plain torch loop, TRL's GRPOTrainer.

    Every arm learns from the same random rollouts with the same model, settings and bound on tokens at a time, in a
    process of its own. The plain loop needs the extra `transformers`. An arm that cannot run is a row that says why.
    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.

    \b
    Examples:
      archipel bench train --quick
      archipel bench train --size 30m --arm ours --arm "ours, 8 bit" --arm "ours, LoRA"
      archipel bench train --device cuda --json
    """
    from archipel.bench.train import Tools, TrainArm, measure
    from archipel.bench.train_report import arm_line, save, table, to_json
    from archipel.cli.doors import child_environment, mending, show

    plan, folder, tell = _plan(given), out_folder(out, "train"), teller()
    arms: list[TrainArm] = []

    def on_arm(arm: TrainArm) -> None:
        arms.append(arm)
        save(arms, folder / "train.json")
        tell(arm_line(arm))

    def finish() -> None:
        show(to_json(arms), as_json, lambda: table(arms))

    with mending(OSError, ValueError), whatever_ends(folder, tell, finish):
        tools = Tools(Path(sys.executable), _with_trl(venv), child_environment())
        measure(plan, folder, tools, on_arm)


def _plan(given: dict[str, Any]) -> "TrainPlan":
    from archipel.bench.train import ON_GPU, QUICK, QUICK_ON_GPU, TrainPlan

    if given["device"].partition(":")[0] == "cpu":
        plan = QUICK if given["quick"] else TrainPlan()
    else:
        plan = QUICK_ON_GPU if given["quick"] else ON_GPU
    names = ("sizes", "arms", "lengths", "dtypes", "updates", "groups", "device", "threads")
    return replace(plan, **chosen(plan, given, *names))


def _with_trl(venv: Path) -> Path | None:
    from importlib.util import find_spec

    python = venv.expanduser().absolute() / "bin" / "python"
    if python.is_file():
        return python
    return Path(sys.executable) if find_spec("trl") else None
