"""`archipel bench market`: whether lying about one's cost pays, and how much where it does."""

from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller

ARM_NAMES = (
    "single-uniform", "single-quality", "multi-displaced", "newcomers", "multi-uniform", "withholding",
    "collusion-single", "collusion-multi",
)  # fmt: skip


@click.command("market")
@click.option(
    "--arm", "arms", type=click.Choice(ARM_NAMES), multiple=True, help="Only this arm; repeatable."
)
@click.option(
    "--markets", type=click.IntRange(11, 10_000_000), help="Of each arm [20000; quick: 500]."
)
@click.option(
    "--replies",
    type=click.IntRange(1, 64),
    help="Lies tried per operator and market, at most [4].",
)
@click.option("--seed", type=click.IntRange(0, 2**31), help="Of the random markets [0].")
@quick_option("500 markets of each arm: some seconds.")
@JSON
def command(arms: tuple[str, ...], quick: bool, as_json: bool, **given: Any) -> None:
    """Draw random markets, let operators lie in each, and count where a lie earns more than the truth.

    No lie may pay in the first four arms: the command fails if one does. The others measure what the assumptions
    are worth: several lots at one uniform price, lots held back, two operators that agree.

    \b
    Examples:
      archipel bench market --quick
      archipel bench market --arm multi-displaced --markets 100000 --json
    """
    from dataclasses import replace

    from archipel.bench.market import ARMS, QUICK, Outcome, Plan, outcomes
    from archipel.bench.market_report import broken, table, to_json
    from archipel.cli.benches import chosen
    from archipel.cli.doors import Mendable, show

    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "markets", "replies", "seed"))
    tell, found = teller(), dict[str, list[Outcome]]()
    try:
        for arm in ARMS:
            if not arms or arm.name in arms:
                found[arm.name] = []
                for each in outcomes(arm, plan, tell):
                    found[arm.name].append(each)  # Ctrl-C keeps these
    finally:
        if any(found.values()):
            show(to_json(found), as_json, lambda: table(found))
    if lied := broken(found):
        raise Mendable(
            f"a lie pays in {', '.join(lied)}; expected none: the rule of clearing is at fault"
        )
