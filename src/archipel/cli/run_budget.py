"""What a run may cost: `run open --budget`, in two steps around the opening, so that no run opens without its credits."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import Mendable
from archipel.cli.grouped import as_one
from archipel.cli.keys import operator_key
from archipel.cli.lab_door import ask_lab

if TYPE_CHECKING:
    from archipel.identity import Identity
    from archipel.records.recipe_form import RecipeForm


class Budget(NamedTuple):
    """What is set aside for a run."""

    micro: int | None
    """None: it has no end."""
    pay_in: bool
    """Whether what the wallet lacks of it is entered as paid in."""


def _budget(budget: int | None, pay_in: bool) -> Budget:
    if pay_in and budget is None:
        raise click.UsageError("--pay-in goes with --budget CREDITS")
    return Budget(budget, pay_in)


budget_options = as_one(
    "budget",
    _budget,
    click.option(
        "--budget",
        type=Amount(),
        metavar="CREDITS",
        help="Set so much of the wallet aside: the run spends no more, and what it leaves comes back [on account, without "
        "end].",
    ),
    click.option(
        "--pay-in",
        is_flag=True,
        help="With --budget: first enter as paid in from outside what the wallet lacks of it (reference: run NAME).",
    ),
)


def provide(
    url: str, key: Path | None, recipe: "RecipeForm", budget: int | None, pay_in: bool
) -> None:
    """Before a run opens: its budget is in the wallet, or the sentence says what to do."""
    run = recipe.run.name
    _tell_posted(recipe)
    if budget is None:
        if getattr(recipe, "market", None) is not None:
            click.echo(
                f"a run with a market pays from what is set aside for it: without --budget nothing that costs credits is "
                f"handed out before `archipel run fund {run} CREDITS`",
                err=True,
            )
        return
    own = operator_key(key)
    missing = budget - ask_lab(_wallet(url, own))
    if missing <= 0:
        return
    if not pay_in:
        raise Mendable(
            f"a budget of {credits_words(budget)}, and the wallet of {own.did} lacks {credits_words(missing)} of that; "
            "give --pay-in to enter these as paid in, or `archipel account settle in`"
        )
    ask_lab(_pay_in(url, own, missing, f"run {run}"))
    click.echo(f"{credits_words(missing)} paid in (reference: run {run})", err=True)


def _tell_posted(recipe: "RecipeForm") -> None:
    """Where the price until the first clearing is above the reserve whatever is sampled: nobody need bid."""
    from archipel.records.recipe import Recipe

    if not isinstance(recipe, Recipe) or recipe.market is None or not recipe.market.reserve:
        return
    tokens = recipe.run.group_size * recipe.sampling.max_new_tokens
    posted, reserve = recipe.lease.price_micro / tokens, recipe.market.reserve
    if posted > reserve:
        click.echo(
            f"market.reserve is {reserve:g} credits per million tokens, and lease.price_micro, which is paid for a group"
            f" until nodes are bought, is {posted:.3g} or more ({tokens} tokens at most): nodes that stay away earn more;"
            f" a price_micro of {max(int(reserve * tokens), 1)} would agree",
            err=True,
        )


def spend(url: str, key: Path | None, run: str, budget: int | None) -> None:
    """Set aside for a run that is open."""
    if budget is not None:
        ask_lab(fund_run(url, operator_key(key), run, budget))
        click.echo(f"{credits_words(budget)} set aside for run {run}", err=True)


async def fund_run(url: str, own: "Identity", run: str, micro: int) -> int:
    """Entry of the funding."""
    from archipel.node.client import LabClient
    from archipel.records.money import RunFunded

    async with LabClient(url, own) as lab:
        await lab.greet()
        return (await lab.submit(RunFunded, run=run, micro=micro)).index


async def _wallet(url: str, own: "Identity") -> int:
    from archipel.node.client import LabReader
    from archipel.records.documents import KeyFacts

    async with LabReader(url) as lab:
        return (await lab.read(KeyFacts, f"/keys/{own.did}")).wallet_micro


async def _pay_in(url: str, own: "Identity", micro: int, reference: str) -> None:
    from archipel.node.client import LabClient
    from archipel.records.money import CreditsSettled

    async with LabClient(url, own) as lab:
        await lab.greet()
        await lab.submit(
            CreditsSettled, account=own.did, direction="in", micro=micro, reference=reference
        )
