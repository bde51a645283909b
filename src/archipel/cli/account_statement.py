"""`archipel account statement`: every movement of an account, recomputed by whoever asks."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.account_words import Books, accounts_named, party_named, read_books
from archipel.cli.credits import RATE, credits_words
from archipel.cli.doors import DEFAULT_LAB_URL, Mendable, printable, show
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.ledger_place import ledger_options
from archipel.market.amounts import written
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.bookkeeping import Movement

COLUMNS = (
    "entry", "time", "kind", "about", "reason", "account", "other", "credits", "balance", "usd",
)  # fmt: skip


@click.command()
@click.argument("account", required=False, metavar="[ACCOUNT]")
@click.option(
    "--verify", is_flag=True,
    help="Say what was checked, and compare the balance with what the lab says; a difference is an error.",
)  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, with a line of names.")
@RATE
@ledger_options
@JSON
def statement(
    account: str | None,
    verify: bool,
    as_csv: bool,
    rate_micro: int | None,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Every movement of ACCOUNT with its ledger entry, the work it is for, its reason, and the balance after it.

    Recomputed here from the ledger of a lab, a mirror or a copy: every signature, the signed tree head and every rule
    are checked on the way, so it is a proof of what was paid, not the lab's word. ACCOUNT as for `account show`; of a
    key, its wallet and its stake.

    \b
    Examples:
      archipel account statement --verify
      archipel account statement did:key:z6Mk... --ledger mirror --csv > statement.csv
      archipel account statement escrow:secret-order --json
    """
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json")
    name = account or party_named()
    books = read_books(url, home, ledger, expect, accounts_named(name))
    rate = rate_micro or books.rate_micro
    checks = _checks(books, name, None if home or ledger else url or DEFAULT_LAB_URL, verify)
    if as_csv:
        click.echo(_csv(books.movements), nl=False)
        for line in checks:
            click.echo(line, err=True)
        return
    facts = {
        "lab": books.state.lab,
        "entries": books.state.size,
        "account": name,
        "operator": _operator(books, name),
        "movements": [_facts(each) for each in books.movements],
        "balances_micro": {each: books.state.book.get(each, 0) for each in accounts_named(name)},
        "rate_usd_micro": rate,
        "checked": checks,
    }
    show(facts, as_json, lambda: printable("\n".join(_lines(books, name, rate, checks))))


def _checks(books: Books, name: str, url: str | None, verify: bool) -> list[str]:
    """What was found to hold, a sentence each.

    Raises:
        Mendable: something does not.
    """
    if not verify:
        return []
    state = books.state
    if total := sum(state.book.values()):
        raise Mendable(f"all accounts together hold {total} micro-credits, expected 0")
    if state != books.checked.found.state:
        raise Mendable("two folds of the same entries differ; this release has a defect")
    told = [
        f"{counted(state.size, 'entry', 'entries')}: every signature holds, and each follows from those before it",
        f"they are the entries under the tree head that {state.lab} signed",
        "every balance is what the movements before it come to; all accounts together come to zero",
    ]
    if url is not None and name.startswith("did:"):
        told.append(_compared(url, name, state.size, int(state.book.get(name, 0))))
    return told


def _compared(url: str, did: str, size: int, micro: int) -> str:
    said, now = ask_lab(_said(url, did))
    if said == micro:
        return f"the lab says the same of the wallet: {written(micro)} credits"
    if now > size:
        return f"the lab is {now - size} entries further and says {written(said)} credits"
    raise Mendable(
        f"the lab says that the wallet of {did} holds {written(said)} credits; its ledger comes to {written(micro)}: "
        "keep both, they are signed"
    )


async def _said(url: str, did: str) -> tuple[int, int]:
    """(what the lab says that the wallet holds, entries of its ledger)"""
    from archipel.node.client import LabReader
    from archipel.records.documents import KeyFacts, LabFacts

    async with LabReader(url) as lab:
        said = (await lab.read(KeyFacts, f"/keys/{did}")).wallet_micro
        return said, (await lab.read(LabFacts, "/lab")).ledger_size


def _facts(each: "Movement") -> dict[str, Any]:
    return {
        "entry": each.entry,
        "at_ms": each.at_ms,
        "kind": each.kind,
        "about": each.work,
        "move": each.move.name.lower(),
        "account": each.account,
        "other": each.other,
        "micro": each.micro,
        "balance_micro": each.balance_micro,
        "usd_micro": each.usd_micro,
    }


def _csv(movements: "list[Movement]") -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for each in movements:
        usd = "" if each.usd_micro is None else written(each.usd_micro)
        rows.writerow(
            (each.entry, _clock(each.at_ms), each.kind, each.work, each.move.value, each.account, each.other,
             written(each.micro), written(each.balance_micro), usd)
        )  # fmt: skip
    return out.getvalue()


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lines(books: Books, name: str, rate: int | None, checks: list[str]) -> Iterator[str]:
    yield f"lab {books.state.lab}, by {counted(books.state.size, 'entry', 'entries')}"
    for account in accounts_named(name):
        rows = [each for each in books.movements if each.account == account]
        yield f"{account}: {credits_words(int(books.state.book.get(account, 0)), rate)}"
        if not rows:
            yield "  no movement"
        for each in rows:
            usd = "" if each.usd_micro is None else f"  for {written(each.usd_micro)} USD"
            yield (
                f"  {each.entry:>8}  {_clock(each.at_ms)}  {written(each.micro):>18}  {written(each.balance_micro):>18}  "
                f"{each.move.value}: {each.work}{usd}"
            )
    operator = _operator(books, name)
    if operator is not None:
        yield f"{name} is a node's key; what it earns is in the account of its operator, {operator}"
    yield from (f"checked: {line}" for line in checks)


def _operator(books: Books, name: str) -> str | None:
    from archipel.lab.providers import account_of

    owner = account_of(books.state, name)
    return None if owner == name else owner
