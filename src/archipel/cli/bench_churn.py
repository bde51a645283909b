"""`archipel bench churn`: pretraining whose members die, are replaced and become slow, beside the run left alone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
)

if TYPE_CHECKING:
    from archipel.bench.churn import Arm
    from archipel.bench.churn_plan import Plan


@click.command("churn")
@click.option(
    "--text",
    "text_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that is learned, its documents between empty lines [the source of this package].",
)
@click.option(
    "--late",
    type=click.Choice(["drop", "use"]),
    multiple=True,
    help="Only this rule for late contributions [both, an arm each].",
)
@seeds_option("2; quick: 1")
@click.option("--members", type=click.IntRange(2, 16), help="Of the run [4; quick: 3].")
@click.option("--versions", type=click.IntRange(2, 10_000), help="Outer steps [8; quick: 6].")
@click.option("--steps", type=click.IntRange(1, 10_000), help="Inner steps of each [12; quick: 4].")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 1000),
    help="Outer steps of the undisturbed run between two disturbances, in the mean [1.5].",
)
@click.option(
    "--share",
    type=click.FloatRange(0.01, 0.99),
    help="Of the time, that a slowed member's work process runs [0.25].",
)
@click.option(
    "--waits-s",
    type=click.FloatRange(0.1, 3600),
    help="A contribution is waited for at least so long [8].",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.5, 1440),
    help="A run that takes longer is given up [30].",
)
@quick_option("One seed, three members, six short outer steps: some minutes.")
@out_option("churn")
@PNG
@JSON
def command(
    text_path: Path | None, out: Path | None, png: Path | None, as_json: bool, **given: Any
) -> None:
    """Pretrain with a lab, a trusted role and members as real processes, left alone and disturbed.

    Members are killed and start again, are killed and replaced by new ones, or run slowly for a while, as the seed has it.
    Compared are held-out loss, tokens merged a second, and the share of the tokens trained that were merged; members'
    processes share this machine, so that times say nothing of other ones. Then all merges are made again, and the command
    fails if one is unequal.

    \b
    Examples:
      archipel bench churn --quick
      archipel bench churn --text plays.txt --seeds 2 --png churn.png
      archipel bench churn --late use --every 0.5 --out churn --json
      archipel run replay churn-use-0 --all --home churn/seed-0/use/site/lab

    Whatever stops it, it prints the runs that have ended.
    """
    from archipel.bench.churn import measure
    from archipel.bench.churn_report import arm_line, draw, table, to_json, unequal
    from archipel.bench.endings import in_order
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import Mendable, child_environment, mending, show

    arms: list[Arm]
    tell, folder, arms = teller(), out_folder(out, "churn"), []
    with mending(SiteFailed, OSError, ValueError), in_order():
        plan = _plan(given)
        try:
            for arm in measure(plan, text_path, folder, child_environment(), tell):
                arms.append(arm)  # Ctrl-C keeps these
                tell(arm_line(arm))
        finally:
            if png is not None and arms:
                draw(arms, png)
            show(to_json(arms), as_json, lambda: table(arms))
    if wrong := unequal(arms):
        raise Mendable(
            f"merges made again come out otherwise in {', '.join(wrong)}; expected every bit equal: see {folder}"
        )


def _plan(given: dict[str, Any]) -> "Plan":
    from archipel.bench.churn_plan import QUICK, Plan

    plan = QUICK if given["quick"] else Plan()
    names = ("late", "members", "versions", "steps", "share", "waits_s", "minutes")
    plan = replace(plan, **chosen(plan, given, *names))
    if given["every"]:
        plan = replace(plan, rates=replace(plan.rates, every=given["every"]))
    return plan
