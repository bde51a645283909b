"""`archipel account settle`: enter what came in or went out, one by one or from a file; and what is to be paid out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.account_words import read_books
from archipel.cli.credits import RATE, Amount, credits_words
from archipel.cli.doors import LAB, KeyName, Mendable, mending, show
from archipel.cli.keys import operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.identity import Identity
    from archipel.market.settlement import Settling
    from archipel.node.client import LabClient

SETTLED_BEFORE = "settled-before"


@click.command()
@click.argument("direction", required=False, type=click.Choice(["in", "out"]))
@click.argument("did", required=False, metavar="[DID]", type=KeyName())
@click.argument("micro", required=False, metavar="[CREDITS]", type=Amount())
@click.option(
    "--reference", metavar="TEXT", help="Of the invoice or transfer; a lab takes each once."
)
@click.option(
    "--usd", "usd_micro", type=Amount(), metavar="USD", help="Dollars that were received or paid."
)
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="Enter every row of FILE: columns account, direction, credits, reference and, if you like, usd.",
)  # fmt: skip
@click.option(
    "--export", "export_to", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), metavar="FILE",
    help="Write what may be paid out to providers into such a file (- for the screen); nothing is entered.",
)  # fmt: skip
@click.option(
    "--least", "least_micro", type=Amount(), metavar="CREDITS", help="With --export: nobody who is owed less."
)  # fmt: skip
@click.option("--manual", is_flag=True, help="With --export: lines for a person instead of CSV.")
@RATE
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A key that may open runs [~/.archipel/lab/operator.key].",
)
@LAB
@JSON
def settle(
    direction: str | None,
    did: str | None,
    micro: int | None,
    reference: str | None,
    usd_micro: int | None,
    csv_file: Path | None,
    export_to: Path | None,
    least_micro: int | None,
    manual: bool,
    rate_micro: int | None,
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Enter into the ledger what was settled outside: credits in for money received, credits out for money paid.

    Nothing is paid by this: whoever runs the lab pays and is paid as they like, and says so here, with a reference that
    a lab takes once. So a file may be entered twice without harm; its rows are all checked before the first is sent. Out
    of a wallet goes no more than is free: no stake, and no pay for answers that are not judged yet.

    \b
    Examples:
      archipel account settle in did:key:z6Mk... 100 --reference "invoice 17" --usd 2
      archipel account settle --export payouts.csv --rate 0.02 --least 1
      archipel account settle --csv payouts.csv
    """
    is_one = direction is not None
    if is_one + (csv_file is not None) + (export_to is not None) != 1:
        raise click.UsageError(
            "give in or out with DID and CREDITS, or --csv FILE, or --export FILE"
        )
    if is_one and (did is None or micro is None or reference is None):
        raise click.UsageError("in and out go with DID, CREDITS and --reference TEXT")
    if export_to is not None:
        _export(lab_url, export_to, least_micro or 1, rate_micro, manual, as_json)
        return
    rows = (
        _read(csv_file)
        if csv_file is not None
        else _one(direction, did, micro, reference, usd_micro)
    )
    _enter(lab_url, key, rows, as_json)


def _one(
    direction: str | None,
    did: str | None,
    micro: int | None,
    reference: str | None,
    usd: int | None,
) -> "tuple[Settling, ...]":
    """What the command line says; by the rules of a row of a file."""
    from archipel.market.settlement import BadSettlement, Csv, Settling

    row: Any = Settling(did or "", direction, micro or 0, reference or "", usd)  # type: ignore[arg-type]
    with mending(BadSettlement):
        return Csv().read(Csv().written([row]).encode())


def _read(path: Path) -> "tuple[Settling, ...]":
    from archipel.market.settlement import MAX_CSV_BYTES, BadSettlement, Csv

    try:
        with mending(OSError), path.open("rb") as file:
            return Csv().read(file.read(MAX_CSV_BYTES + 1))
    except BadSettlement as error:
        raise Mendable(f"{path}: nothing was entered:\n  {error}") from None


def _enter(url: str, key: Path | None, rows: "Sequence[Settling]", as_json: bool) -> None:
    own = operator_key(key)
    entries, again, faults = ask_lab(_send(url, own, rows))
    facts = {"entries": entries, "before": again, "refused": faults}
    text = f"{counted(len(entries), 'settlement')} entered"
    text += f", {again} had been before" if again else ""
    show(facts, as_json, lambda: text)
    if faults:
        raise Mendable(
            f"{counted(len(faults), 'row was', 'rows were')} refused; mend them and enter the file again:\n  "
            + "\n  ".join(faults)
        )


async def _send(
    url: str, own: "Identity", rows: "Sequence[Settling]"
) -> tuple[list[int], int, list[str]]:
    """(ledger entries, rows that had been entered before, what was refused)

    One by one, in order: who is cut off enters the file again.
    """
    from archipel.node.client import LabClient
    from archipel.node.exchange import LabRefused

    entries, again, faults, tell = list[int](), 0, list[str](), seldom()
    async with LabClient(url, own) as lab:
        await lab.greet()
        for number, row in enumerate(rows, 1):
            try:
                entries.append(await _sent(lab, row))
            except LabRefused as error:
                if error.problem == SETTLED_BEFORE:
                    again += 1
                elif len(rows) == 1 or error.is_no_labs:
                    raise
                else:
                    faults.append(f"line {row.line}: {error}")
            tell(f"{number} of {len(rows)} rows")
    return entries, again, faults


async def _sent(lab: "LabClient", row: "Settling") -> int:
    from archipel.records.money import CreditsSettled

    said = {
        "account": row.account,
        "direction": row.direction,
        "micro": row.micro,
        "reference": row.reference,
    }
    usd = {} if row.usd_micro is None else {"usd_micro": row.usd_micro}
    return (await lab.submit(CreditsSettled, **said, **usd)).index


def _export(
    url: str, out: Path, least: int, rate_micro: int | None, manual: bool, as_json: bool
) -> None:
    """Of everybody who earned: sponsors who only paid in, and operators of the lab, are none of them."""
    from archipel.lab.money import owed
    from archipel.lab.providers import account_of
    from archipel.market.settlement import Csv, Manual, Owed, payouts

    books = read_books(url, None, None, None, ())
    state, rate = books.state, rate_micro or books.rate_micro
    providers = {account_of(state, did) for did in state.nodes}
    wallets = [
        each
        for each in state.book
        if each.startswith("did:") and each not in state.operators
        and (each in providers or each not in books.paid_in)
    ]  # fmt: skip
    found = [Owed(did, micro) for did, micro in owed(state, wallets).items() if micro >= least]
    rows = payouts(found, f"payout {state.size}", rate)
    text = (Manual() if manual else Csv()).written(rows)
    total = sum(each.micro for each in rows)
    if not rows:
        click.echo(f"nobody is owed {credits_words(least)} or more (--least)", err=True)
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    with mending(OSError):
        out.write_text(text, "utf-8")
    facts = {"file": str(out), "providers": len(rows), "micro": total, "entries": state.size}
    words = f"{out}: {counted(len(rows), 'provider')}, {credits_words(total, rate)}; pay them, then enter it with --csv"
    show(facts, as_json, lambda: words)
