"""`archipel bench real`: a real pretrained model made better, beside a plain loop, over seeds and tasks."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    PNG,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)

ARMS = ("ours", "plain loop", "rewards by chance", "lora", "entropy", "clip-higher", "more tasks")


@click.command("real")
@seeds_option("default: 3; quick: 1")
@click.option("--updates", type=click.IntRange(1, 100_000), help="Updates per arm [40; 4].")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(["sums", "long-sums", "differences"]),
    help="What is learned; may be given several times [sums, differences; sums].",
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    type=click.Choice(ARMS),
    help="May be given several times [all; ours, plain loop].",
)
@click.option("--threads", type=click.IntRange(1, 64), help="Of every arm [1].")
@quick_option("One seed, one task, 4 updates: to see it work.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    help="A GGUF file or model directory [SmolLM2-135M-Instruct from the package registry].",
)
@out_option("real")
@PNG
@JSON
def command(model: Path | None, out: Path | None, png: Path | None, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Train a real pretrained model with rewards alone, in one process, and beside it a plain loop.

    The plain loop is torch and transformers (needs the extra `transformers`). Figures name the machine's load:
    leave it alone meanwhile. An arm takes about five minutes of one core.

    \b
    Examples:
      archipel bench real --quick
      archipel bench real --task sums --arm ours --arm "plain loop" --seeds 3
      archipel bench real --png real.png --json

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.real import QUICK, RealBench, RealBenchPlan, Tools
    from archipel.bench.real_report import arm_line, draw, save, table, to_json
    from archipel.cli.demo_real import model_directory
    from archipel.cli.doors import FEW_SHAPES, child_environment, mending, show
    from archipel.cli.recipes import find_recipe
    from archipel.model.shelf import NotBrought

    plan = QUICK if given["quick"] else RealBenchPlan()
    plan = replace(plan, **chosen(plan, given, "updates", "tasks", "arms", "threads"))
    plan = replace(plan, judge_every=min(plan.judge_every, plan.updates))
    folder, tell = out_folder(out, "real"), teller()
    arms: list[Any] = []

    def on_arm(arm: Any) -> None:
        arms.append(arm)
        save(arms, folder / "real.json")
        tell(arm_line(arm))

    def finish() -> None:
        if png is not None and arms:
            draw(arms, png)
        show(to_json(arms), as_json, lambda: table(arms))

    failures = (PeerFailed, NotBrought, OSError, ValueError, RuntimeError)
    with mending(*failures), whatever_ends(folder, tell, finish):
        start = model_directory(model, folder / "start", tell)
        tools = Tools(Path(sys.executable), child_environment() | FEW_SHAPES)
        RealBench(find_recipe("real-sums"), start, plan, folder, tools).measure(on_arm)
