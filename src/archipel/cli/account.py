"""`archipel account`: what accounts hold and why, recomputed from the ledger, and settling with the world outside."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.account_settle import settle
from archipel.cli.account_statement import statement
from archipel.cli.account_words import accounts_of, party_named, read_books
from archipel.cli.credits import RATE, credits_words
from archipel.cli.doors import show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON
from archipel.cli.ledger_place import ledger_options

if TYPE_CHECKING:
    from archipel.lab.state import LabState


@click.group(cls=Group)
def command() -> None:
    """What accounts hold and why, and settling with the world outside."""


command.add_command(statement)
command.add_command(settle)


@command.command("show")
@click.argument("account", required=False, metavar="[ACCOUNT]")
@click.option("--all", "is_all", is_flag=True, help="Every account that holds or owes anything.")
@RATE
@ledger_options
@JSON
def show_(
    account: str | None,
    is_all: bool,
    rate_micro: int | None,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """What ACCOUNT holds: wallet, stake, what may be paid out of it, and what it has set aside for runs.

    ACCOUNT is a key's name (did:key:z6Mk...), escrow:RUN, held:RUN, treasury or outside [this machine's node, or its
    operator]. All of it is recomputed from the ledger, which is read and checked here.

    \b
    Examples:
      archipel account show
      archipel account show did:key:z6Mk... --lab http://lab.example:8440 --rate 0.02
      archipel account show --all --ledger mirror --json
    """
    if is_all and account is not None:
        raise click.UsageError("give an account, or --all")
    if is_all:
        books = read_books(url, home, ledger, expect, ())
        rate, state = rate_micro or books.rate_micro, books.state
        rows: dict[str, int] = {each: state.book[each] for each in sorted(state.book)}
        facts = {"lab": state.lab, "entries": state.size, "accounts": rows}
        show(facts, as_json, lambda: "\n".join(_row(*each, rate) for each in rows.items()))
        return
    name = account or party_named()
    books = read_books(url, home, ledger, expect, ())
    found, rate = account_facts(books.state, name), rate_micro or books.rate_micro
    found["rate_usd_micro"] = rate
    show(found, as_json, lambda: _told(found, rate))


def account_facts(state: "LabState", name: str) -> dict[str, Any]:
    """Of one account, for machines."""
    from archipel.lab.money import free_micro, unjudged_micro
    from archipel.lab.providers import account_of, keys_of

    accounts = accounts_of(state, name)
    facts: dict[str, Any] = {
        "lab": state.lab,
        "entries": state.size,
        "account": name,
        "balance_micro": state.book.get(accounts[0], 0),
    }
    if not name.startswith("did:"):
        return facts
    nodes = [node for key in keys_of(state, name) if (node := state.nodes.get(key)) is not None]
    leases = [state.leases[work].price_micro for node in nodes for work in node.leases]
    return facts | {
        "of": account_of(state, name),
        "stake_micro": state.book.get(accounts[1], 0),
        "unjudged_micro": unjudged_micro(state, name),
        "free_micro": free_micro(state, name),
        "promised_micro": sum(leases),
        "funded": {
            run.name: {"given_micro": run.funders[name], "left_micro": _left(state, run.name)}
            for run in sorted(state.runs.values(), key=lambda run: run.entry)
            if name in run.funders
        },
    }


def _left(state: "LabState", run: str) -> int:
    from archipel.market.journal import escrow

    return int(state.book.get(escrow(run), 0))


def _row(account: str, micro: int, rate: int | None) -> str:
    return f"{credits_words(micro, rate):>40}  {account}"


def _told(found: dict[str, Any], rate: int | None) -> str:
    lines = [found["account"], f"  holds {credits_words(found['balance_micro'], rate)}"]
    if "of" not in found:
        return "\n".join(lines)
    if found["of"] != found["account"]:
        lines.append(f"  a node's key: what it earns is its operator's, {found['of']}")
    lines.append(f"  stake {credits_words(found['stake_micro'], rate)}")
    lines.append(
        f"  may be paid out: {credits_words(found['free_micro'], rate)}; pay for answers that are not judged yet: "
        f"{credits_words(found['unjudged_micro'])}"
    )
    if found["promised_micro"]:
        lines.append(f"  promised for work in hand: {credits_words(found['promised_micro'])}")
    for run, each in found["funded"].items():
        lines.append(
            f"  set aside for {run}: {credits_words(each['given_micro'])}, of all its sponsors' "
            f"{credits_words(each['left_micro'])} are left"
        )
    return "\n".join(lines)
