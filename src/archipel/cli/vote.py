"""`archipel vote`: proposals to the owners of a run, ballots, and what they come to, counted by whoever asks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import LAB, KeyName, Mendable, mending, printable, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON
from archipel.cli.names import run_names
from archipel.cli.owners import KEY, Share, bundled_options, own_key, percent, read_owners, say

if TYPE_CHECKING:
    from archipel.records.ownership_documents import OwnershipView, VoteView

RUN = click.argument("run", shell_complete=run_names)


@click.group(cls=Group)
def command() -> None:
    """Decide with the other owners of a run: licence, price, next recipe, what its treasury spends.

    \b
    Examples:
      archipel vote open secret-order "Free for all" --licence Apache-2.0
      archipel vote cast secret-order 412 yes
    """


@command.command("open")
@RUN
@click.argument("text")
@click.option("--licence", metavar="SPDX", help="Of what the run made.")
@click.option(
    "--price", type=Amount(0), metavar="CREDITS", help="Of a million tokens that it serves."
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Of the next run.",
)
@click.option("--spend-to", type=KeyName(), metavar="DID", help="Whom the treasury is to pay.")
@click.option("--credits", "micro", type=Amount(), metavar="CREDITS", help="So many credits of it.")
@click.option("--share", "units", type=Share(), metavar="SHARE", help="So much of its shares.")
@KEY
@LAB
@JSON
def open_(
    run: str,
    text: str,
    licence: str | None,
    price: int | None,
    recipe: Path | None,
    spend_to: str | None,
    micro: int | None,
    units: int | None,
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Ask the owners of RUN to decide on TEXT, and on one of the options where it is about one.

    Takes the share that the run's charter names. Ballots weigh what their holders have at this moment; they are counted when
    the charter's time is over, and an adopted spending is carried out then.

    \b
    Examples:
      archipel vote open secret-order "Free for all" --licence Apache-2.0
      archipel vote open secret-order "Pay for the mirror" --spend-to did:key:z6Mk... --credits 2
      archipel vote open secret-order "Go on with twice the groups" --recipe next.toml
      archipel vote open secret-order "Meet in spring"
    """
    from archipel.records.ownership import ProposalOpened, Spending

    if (spend_to is None) != (micro is None and units is None):
        raise click.UsageError("--spend-to goes with --credits, --share or both")
    said: dict[str, Any] = {
        "licence": licence,
        "price_micro": price,
        "recipe": None if recipe is None else _digest(recipe),
        "spending": None if spend_to is None else Spending(to=spend_to, units=units, micro=micro),
    }
    given = [name.removesuffix("_micro") for name, value in said.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"one vote is about one thing; got {' and '.join(given)}")
    own, about = own_key(key), (given or ["other"])[0]
    index = say(lab_url, own, ProposalOpened, run=run, about=about, text=text, **said)
    facts = {"run": run, "author": own.did, "about": about, "entry": index}
    text = f"vote {index} of {run} is open: archipel vote cast {run} {index} yes"
    show(facts, as_json, lambda: text)


def _digest(recipe: Path) -> str:
    """Of the recipe in a file, as a run of it would name it."""
    from archipel.records.recipe import parse_recipe
    from archipel.records.recipe_form import MAX_RECIPE_BYTES, InvalidRecipe

    with mending(OSError, UnicodeDecodeError, InvalidRecipe), recipe.open("rb") as file:
        return parse_recipe(file.read(MAX_RECIPE_BYTES + 1).decode()).digest


@command.command()
@RUN
@click.argument("entry", type=click.IntRange(0))
@click.argument("says", type=click.Choice(["yes", "no", "abstain"]))
@KEY
@LAB
@JSON
def cast(run: str, entry: int, says: str, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Say yes, no or abstain to the vote of RUN that was opened by entry ENTRY; once, and for good.

    \b
    Examples:
      archipel vote cast secret-order 412 yes
      archipel vote cast secret-order 412 abstain --key holder.key --lab http://lab.example:8440
    """
    from archipel.records.ownership import BallotCast

    own = own_key(key)
    index = say(lab_url, own, BallotCast, run=run, proposal=entry, says=says)
    facts = {"run": run, "holder": own.did, "vote": entry, "says": says, "entry": index}
    show(facts, as_json, lambda: f"{says} to vote {entry} of {run}, entry {index}")


@command.command()
@RUN
@click.argument("to", metavar="[DID]", type=KeyName(), required=False)
@click.option("--back", is_flag=True, help="Vote yourself again.")
@KEY
@LAB
@JSON
def delegate(
    run: str, to: str | None, back: bool, key: Path | None, lab_url: str, as_json: bool
) -> None:
    """Let the holder DID vote for you on RUN wherever you cast no ballot yourself; or end that.

    \b
    Examples:
      archipel vote delegate secret-order did:key:z6Mk...
      archipel vote delegate secret-order --back
    """
    from archipel.records.ownership import VoteDelegated

    if (to is None) != back:
        raise click.UsageError("give the holder who is to vote for you, or --back")
    own = own_key(key)
    index = say(lab_url, own, VoteDelegated, run=run, to=to)
    facts = {"run": run, "holder": own.did, "to": to, "entry": index}
    text = f"{to or 'you'} votes for your shares of {run}, entry {index}"
    show(facts, as_json, lambda: text.replace("you votes", "you vote"))


@command.command("list")
@RUN
@bundled_options
@JSON
def list_(run: str, bundle: Path | None, as_json: bool, **place: Any) -> None:
    """Votes of RUN, open ones first, counted here from the ledger, which is read and checked. Needs no key.

    \b
    Examples:
      archipel vote list secret-order
      archipel vote list secret-order --ledger mirror --json
    """
    view = _view(run, place, bundle)
    facts = {"run": run, "size": view.size, "votes": [each.model_dump() for each in view.votes]}
    lines = [_line(each, view) for each in view.votes] or [f"no vote of {run} was opened yet"]
    show(facts, as_json, lambda: "\n".join(lines))


@command.command("show")
@RUN
@click.argument("entry", type=click.IntRange(0))
@bundled_options
@JSON
def show_(run: str, entry: int, bundle: Path | None, as_json: bool, **place: Any) -> None:
    """The vote of RUN that was opened by entry ENTRY: what it is about and what its ballots come to, counted here.

    \b
    Examples:
      archipel vote show secret-order 412
      archipel vote show secret-order 412 --bundle release --json
    """
    view = _view(run, place, bundle)
    vote = next((each for each in view.votes if each.entry == entry), None)
    if vote is None:
        known = [each.entry for each in view.votes]
        raise Mendable(f"no vote {entry} of {run} is remembered; there are {known}")
    show(vote.model_dump(), as_json, lambda: "\n".join([_line(vote, view), *_more(vote, view)]))


def _view(run: str, place: dict[str, Any], bundle: Path | None) -> "OwnershipView":
    """As of now: a vote whose time is over is shown as it is decided."""
    from archipel.lab.ownership_views import ownership_view

    owners = read_owners(run, place, bundle)
    if not owners.accountant.is_agreed:
        raise Mendable(f"run {run} was opened without [charter]: it has no owners and no votes")
    state, now_ms = owners.accountant.state, clock_ms()
    return ownership_view(state, state.runs[run], max(now_ms, owners.last_ms), rows=0)


def _line(vote: "VoteView", view: "OwnershipView") -> str:
    until = datetime.fromtimestamp(vote.until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    count = f"yes {_weight(vote.yes, view)}, no {_weight(vote.no, view)}"
    first = printable(vote.text).partition("\n")[0]
    return f"{vote.entry:>8}  {vote.phase:<8}  {vote.about:<8}  {count}, until {until}: {first:.80}"


def _more(vote: "VoteView", view: "OwnershipView") -> list[str]:
    cast = vote.yes + vote.no + vote.abstain
    charter = view.charter
    lines = [
        f"  by {vote.author}",
        f"  {_weight(cast, view)} of {_weight(vote.all, view)} cast, {_weight(vote.abstain, view)} of it abstained; needs "
        f"{charter.quorum / 10_000:g} % cast and more than {charter.majority / 10_000:g} % yes of yes and no",
    ]
    if vote.licence is not None:
        lines.append(f"  licence {vote.licence}")
    if vote.price_micro is not None:
        lines.append(f"  {credits_words(vote.price_micro)} for a million tokens")
    if vote.recipe is not None:
        lines.append(f"  recipe {vote.recipe}")
    if vote.spend_to is not None:
        parts = [
            credits_words(vote.spend_micro) if vote.spend_micro else "",
            percent(vote.spend_units) if vote.spend_units else "",
        ]
        lines.append(f"  {' and '.join(filter(None, parts))} to {vote.spend_to}")
    if vote.undone:
        lines.append(f"  not carried out: {vote.undone}")
    return [*lines, *(f"  | {each}" for each in printable(vote.text).splitlines())]


def _weight(weight: int, view: "OwnershipView") -> str:
    return percent(weight) if view.charter.ballots == "shares" else str(weight)
