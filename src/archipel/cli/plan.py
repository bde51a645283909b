"""`archipel plan`: what it costs, what it buys, when to stop; alone, a one-screen example."""

import click

from archipel.cli.archipel import Lazy
from archipel.cli.doors import columns, mending

QUESTIONS = {
    "lab": ("plan_lab", "What a lab of N accelerators costs to build, to run and per useful FLOP"),
    "train": ("plan_train", "Parameters and tokens for a budget, or the cost of a given size"),
    "decentralise": ("plan_decentralise", "The same run bought from a market of providers"),
    "meek": ("plan_meek", "Will the frontier's advantage last, and when does scale stop paying?"),
    "serve": ("plan_serve", "Inference: own hardware against hosted prices, cascades, specialists"),
    "tune": ("plan_tune", "Tuning a model, whole or by adapters: memory, time, money"),
    "earn": ("plan_earn", "What a machine of yours would earn in this market, and rented out"),
    "claims": ("plan_claims", "Public claims about such labs, computed under each reading"),
    "compare": ("plan_compare", "Two plans side by side, world by world"),
    "report": ("plan_report", "Plans as one HTML page that a sponsor can read"),
    "recipe": ("plan_recipe", "A budget becomes a recipe that `archipel run open` accepts"),
    "constants": ("plan_constants", "What the tables know: value, interval, vintage, source"),
    "check": ("plan_check", "What others published, recomputed here, difference by difference"),
}


@click.group(
    cls=Lazy,
    commands_in=QUESTIONS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def command(context: click.Context) -> None:
    """What it costs, what it buys, when more scale stops paying: every number with its source.

    Each question prints text, or data with --json, or a picture with --plot; --explain NAME shows how a
    number came about, --set NAME=AMOUNT and --table FILE replace constants by your own.

    \b
    Examples:
      archipel plan                                      a one-screen example
      archipel plan lab --accelerators 10000 --kind h100
      archipel plan lab --explain lab.purchase
    """
    if context.invoked_subcommand is None:
        from archipel.planning.example import one_screen
        from archipel.planning.mistakes import CannotPlan

        with mending(CannotPlan):
            click.echo(one_screen(columns()))
