"""`archipel door key tie`, `untie` and `charge`: keys whose work is paid by grants at a lab."""

import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.credits import Amount, credits_words
from archipel.cli.door_folder import FOLDER, accounts_at
from archipel.cli.doors import LAB, Mendable, home_folder, mending, show, until_ctrl_c
from archipel.cli.grants_signed import signed_file
from archipel.cli.keys import load_or_make_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.door.keys import BadKeyQuestion

if TYPE_CHECKING:
    from archipel.door.accounts import Accounts
    from archipel.door.receipts import Receipt
    from archipel.door.ties import Tie
    from archipel.identity import Identity
    from archipel.node.client import LabClient

KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The door's key, which the pool's rule names [FOLDER/door.key, made on first use].",
)


@click.command()
@click.argument("tenant", metavar="TENANT")
@click.argument("permit", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--price", "price_micro", required=True, type=Amount(), metavar="CREDITS", help="For a million tokens of any kind."
)  # fmt: skip
@KEY
@FOLDER
@JSON
def tie(
    tenant: str,
    permit: Path,
    price_micro: int,
    key: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Let what TENANT uses be paid by grants of whoever signed PERMIT, at a price. What it used before is not charged.

    `archipel door key charge` asks the lab what is left and charges; nothing is done for the tenant before the first time.

    \b
    Example:
      archipel door key tie ada permit.json --price 0.5
    """
    from archipel.records.grants import Permit
    from archipel.records.membership import NotSigned, read_signed

    signed, own = signed_file(permit), _own(folder, key)
    with mending(NotSigned):
        said = read_signed(Permit, signed)
    if said.door != own.did:
        raise Mendable(
            f"{permit} lets {said.door} charge, and this door is {own.did}; ask for one to this door"
        )
    with mending(BadKeyQuestion), closing(accounts_at(folder)) as accounts:
        accounts.ties.tie(tenant, signed, price_micro, clock_ms())
    facts = {"tenant": tenant, "grantee": said.grantee, "price_micro": price_micro}
    show(facts, as_json, lambda: f"{tenant} pays by grants of {said.grantee}")


@click.command()
@click.argument("tenant", metavar="TENANT")
@FOLDER
@JSON
def untie(tenant: str, folder: Path | None, as_json: bool) -> None:
    """Let TENANT pay by no grant any more: only its own limits hold. Charge what it used first.

    \b
    Example:
      archipel door key untie ada
    """
    with mending(BadKeyQuestion), closing(accounts_at(folder)) as accounts:
        accounts.ties.untie(tenant)
    show({"tenant": tenant}, as_json, lambda: f"{tenant} pays by no grant any more")


@click.command()
@click.option(
    "--every", "every_s", type=click.IntRange(10, 86_400), metavar="SECONDS", help="Again and again, until Ctrl-C [once]."
)  # fmt: skip
@KEY
@FOLDER
@LAB
@JSON
def charge(
    every_s: int | None, key: Path | None, folder: Path | None, lab_url: str, as_json: bool
) -> None:
    """Charge the hours that are over to the tenants' grants, and learn what is left of them.

    An hour is charged once, also if this was cut off in the middle.

    \b
    Examples:
      archipel door key charge --lab http://lab.example:8440
      archipel door key charge --every 600
    """
    own = _own(folder, key)
    with until_ctrl_c(), closing(accounts_at(folder)) as accounts:
        while True:
            rows = ask_lab(charged(lab_url, own, accounts))
            words = "\n".join(map(_words, rows)) or "no tenant pays by a grant"
            show(rows, as_json, partial(str, words))
            if every_s is None:
                return
            time.sleep(every_s)


async def charged(url: str, own: "Identity", accounts: "Accounts") -> list[dict[str, Any]]:
    """One row for each tenant that pays by a grant of this lab."""
    from archipel.door.receipts import receipt
    from archipel.node.client import LabClient
    from archipel.records.grant_documents import GrantsView

    rows: list[dict[str, Any]] = []
    async with LabClient(url, own) as lab:
        await lab.greet()
        for tied in accounts.ties.all():
            if tied.permit.lab != lab.lab:
                continue
            asked = {"grantee": tied.permit.grantee}
            found = await lab.read(GrantsView, "/grants", params=asked)

            def tokens_in(start_ms: int, end_ms: int, tenant: str = tied.tenant) -> int:
                return accounts.usage.tokens_since(tenant, start_ms, end_ms)

            due = receipt(tied, found.grantees[0], tokens_in, found.now_ms)
            refused = await _submitted(lab, tied, due)
            if refused is None:
                accounts.ties.noted(tied, due.until_ms, due.left_micro, clock_ms())
            rows.append(
                {
                    "grantee": tied.permit.grantee,
                    "tokens": due.num_tokens,
                    "micro": due.micro if refused is None else 0,
                    "left_micro": due.left_micro,
                    "refused": refused,
                }
            )
    return rows


async def _submitted(lab: "LabClient", tied: "Tie", due: "Receipt") -> str | None:
    """Why the lab did not take it; None: it did, or there was nothing to charge. Others' charges go on."""
    from archipel.node.exchange import LabRefused
    from archipel.records.grants import GrantCharged

    if not due.micro:
        return None
    try:
        await lab.submit(
            GrantCharged,
            permit=tied.signed,
            micro=due.micro,
            num_tokens=due.num_tokens,
            since_ms=due.since_ms,
            until_ms=due.until_ms,
        )
    except LabRefused as error:
        return str(error)
    return None


def _words(row: dict[str, Any]) -> str:
    return f"{row['grantee']}: {credits_words(row['micro'])} for {row['tokens']} tokens, {credits_words(row['left_micro'])} left"


def _own(folder: Path | None, key: Path | None) -> "Identity":
    return load_or_make_key(key or home_folder("door", folder) / "door.key")
