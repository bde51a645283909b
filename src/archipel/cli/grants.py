"""`archipel grants`: a pool of credits, who fills it, whom it gives to; what was granted can be spent at a door."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import LAB, KeyName, show
from archipel.cli.grants_show import show_
from archipel.cli.grants_signed import attest, permit, signed_file
from archipel.cli.helping import Group
from archipel.cli.keys import operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.owners import KEY, own_key, say
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.grant_documents import GrantsView

DAY_MS = 86_400_000
PER_CENT = 10_000
"""Millionths."""
OPERATOR = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A key that may open runs [~/.archipel/lab/operator.key].",
)


@click.group(cls=Group)
def command() -> None:
    """A pool of credits and what it grants, to be spent at a door and nowhere else.

    \b
    Examples:
      archipel grants show
      archipel grants request attestation.json
    """


command.add_command(show_)
command.add_command(attest)
command.add_command(permit)


@command.command()
@click.argument("micro", metavar="CREDITS", type=Amount())
@click.option("--treasury", is_flag=True, help="Of the lab's treasury, by its operator.")
@KEY
@LAB
@JSON
def fund(micro: int, treasury: bool, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Give CREDITS to the pool, for good: of your wallet, or of what slashed stakes left in the treasury.

    \b
    Examples:
      archipel grants fund 100
      archipel grants fund 2.5 --treasury --key ~/.archipel/lab/operator.key
    """
    from archipel.records.grants import PoolFunded

    source = "treasury" if treasury else "wallet"
    index = say(lab_url, own_key(key), PoolFunded, source=source, micro=micro)
    facts = {"source": source, "micro": micro, "entry": index}
    show(facts, as_json, lambda: f"{credits_words(micro)} for the pool, entry {index}")


@command.command()
@click.argument("part", metavar="PERCENT", type=click.FloatRange(0, 100))
@KEY
@LAB
@JSON
def pledge(part: float, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Give PERCENT of what you are paid from now on to the pool; 0 ends it at once.

    It is collected once a day, and never out of pay that a verdict may still take back.

    \b
    Examples:
      archipel grants pledge 5
      archipel grants pledge 0
    """
    from archipel.records.grants import PoolPledged

    parts = round(part * PER_CENT)
    index = say(lab_url, own_key(key), PoolPledged, parts=parts)
    words = f"{part:g} % of your pay from now on" if parts else "nothing more of your pay"
    facts = {"parts": parts, "entry": index}
    show(facts, as_json, lambda: f"{words} for the pool, entry {index}")


@command.command()
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    type=KeyName(),
    metavar="DID",
    help="Whose attestations count; once for each.",
)
@click.option(
    "--door",
    "doors",
    multiple=True,
    type=KeyName(),
    metavar="DID",
    help="Who may charge grants; once for each.",
)
@click.option(
    "--person",
    "person_micro",
    required=True,
    type=Amount(0),
    metavar="CREDITS",
    help="To each attested person, a month.",
)
@click.option(
    "--most",
    "grant_micro",
    required=True,
    type=Amount(),
    metavar="CREDITS",
    help="No grant is larger.",
)
@click.option(
    "--verifier-month",
    "verifier_micro",
    required=True,
    type=Amount(),
    metavar="CREDITS",
    help="For one verifier's attestations, a month.",
)
@click.option(
    "--month",
    "month_micro",
    required=True,
    type=Amount(),
    metavar="CREDITS",
    help="In all, a month.",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 400),
    help="How long a grant lasts that was asked for.",
)
@OPERATOR
@LAB
@JSON
def rule(key: Path | None, lab_url: str, as_json: bool, days: int, **said: Any) -> None:
    """Say whom the pool gives to: so much to each person a month whom a verifier attests. It replaces the rule before.

    A verifier that lies can give away no more than its month. Without --verifier nobody is given anything for asking.

    \b
    Example:
      archipel grants rule --verifier did:key:z6Mk... --door did:key:z6Mk... \\
          --person 1 --most 20 --verifier-month 500 --month 1000
    """
    from archipel.records.grants import PoolRuled

    index = say(lab_url, operator_key(key), PoolRuled, lasts_ms=days * DAY_MS, **said)
    facts = said | {"lasts_ms": days * DAY_MS, "entry": index}
    show(facts, as_json, lambda: f"ruled, entry {index}")


@command.command()
@click.argument("to", metavar="DID", type=KeyName())
@click.argument("micro", metavar="CREDITS", type=Amount())
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(1, 400), help="How long it lasts."
)
@click.option("--reason", required=True, help="Why; everybody reads it.")
@OPERATOR
@LAB
@JSON
def give(
    to: str, micro: int, days: int, reason: str, key: Path | None, lab_url: str, as_json: bool
) -> None:
    """Grant CREDITS of the pool to DID, by an operator of the lab.

    \b
    Example:
      archipel grants give did:key:z6Mk... 20 --days 90 --reason "a course on reward models"
    """
    index = ask_lab(_give(lab_url, operator_key(key), to, micro, days, reason))
    facts = {"to": to, "micro": micro, "days": days, "entry": index}
    show(
        facts,
        as_json,
        lambda: f"{credits_words(micro)} to {to} for {counted(days, 'day')}, entry {index}",
    )


@command.command()
@click.argument("attestation", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@KEY
@LAB
@JSON
def request(attestation: Path, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Ask for this month's grant, with what a verifier attested of your key.

    \b
    Example:
      archipel grants request attestation.json --key operator.key
    """
    from archipel.records.grants import GrantRequested

    own = own_key(key)
    index = say(lab_url, own, GrantRequested, attestation=signed_file(attestation))
    view = ask_lab(_view(lab_url, own.did))
    left = view.grantees[0].left_micro
    facts = {"grantee": own.did, "left_micro": left, "entry": index}
    show(facts, as_json, lambda: f"granted; {credits_words(left)} can be spent, entry {index}")


@command.command()
@click.argument("grantee", metavar="DID", type=KeyName())
@click.option("--reason", required=True, help="Why; everybody reads it.")
@KEY
@LAB
@JSON
def end(grantee: str, reason: str, key: Path | None, lab_url: str, as_json: bool) -> None:
    """End all grants of DID, by itself or by an operator of the lab; what is left goes back to the pool.

    \b
    Example:
      archipel grants end did:key:z6Mk... --reason "the course is over"
    """
    from archipel.records.grants import GrantEnded

    index = say(lab_url, own_key(key), GrantEnded, grantee=grantee, reason=reason)
    show({"grantee": grantee, "entry": index}, as_json, lambda: f"ended, entry {index}")


async def _give(url: str, own: Any, to: str, micro: int, days: int, reason: str) -> int:
    """Until when it lasts is said by the lab's clock."""
    from archipel.node.client import LabClient
    from archipel.records.grant_documents import GrantsView
    from archipel.records.grants import GrantGiven

    async with LabClient(url, own) as lab:
        await lab.greet()
        now_ms = (await lab.read(GrantsView, "/grants", params={"rows": 0})).now_ms
        said = {"to": to, "micro": micro, "until_ms": now_ms + days * DAY_MS, "reason": reason}
        return (await lab.submit(GrantGiven, **said)).index


async def _view(url: str, grantee: str) -> "GrantsView":
    from archipel.node.client import LabReader
    from archipel.records.grant_documents import GrantsView

    async with LabReader(url) as lab:
        return await lab.read(GrantsView, "/grants", params={"grantee": grantee})
