"""`archipel lab joining | invite`: who may join a lab that is new to it."""

import secrets
from pathlib import Path
from typing import Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import LAB, KeyName, Mendable, home_folder, mending, show
from archipel.cli.keys import load_key, name_of_key, operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.plurals import counted

DAY_MS = 86_400_000
MAX_LIST_BYTES = 65_536
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A key that may open runs [~/.archipel/lab/operator.key].",
)


@click.command()
@click.option(
    "--policy",
    type=click.Choice(["open", "listed", "invited"]),
    help="Anybody; who is on the list; who is on it or holds an invitation.",
)
@click.option(
    "--allow",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The list, one did a line, of nodes or operators; it replaces the one before.",
)
@click.option(
    "--effort-bits",
    type=click.IntRange(0, 28),
    help="Hashes that a newcomer computes first, as a power of two; 20 takes a second or two.",
)
@click.option(
    "--places", type=click.IntRange(1, 1024), help="Nodes of one operator at the same time."
)
@KEY
@LAB
@JSON
def joining(
    policy: str | None,
    listed: Path | None,
    effort_bits: int | None,
    places: int | None,
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Show who may join, or change it; who is known to the lab stays.

    The rule is an entry of the ledger, so that everybody can check that nobody was let in against it.

    \b
    Examples:
      archipel lab joining
      archipel lab joining --policy invited --effort-bits 20
      archipel lab joining --policy listed --allow friends.txt --places 16
    """
    said = {"policy": policy, "effort_bits": effort_bits, "places": places}
    changes = {name: value for name, value in said.items() if value is not None}
    if changes or listed is not None:
        allowed = None if listed is None else _names_in(listed)
        own = operator_key(key)
        ask_lab(_rule(lab_url, own, changes, allowed))
    rule = ask_lab(_shown(lab_url))
    show(rule, as_json, lambda: _words(rule))


@click.command()
@click.option(
    "--uses",
    default=1,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Newcomers it lets in.",
)
@click.option(
    "--days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True, max=366),
    help="Until when it holds.",
)
@click.option("--lab-did", type=KeyName(), metavar="DID", help="The lab [the one in --home].")
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The lab's own key, or one that may open runs [HOME/operator.key].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("invitation.json"),
    show_default=True,
    help="File to write; whoever has it can use it.",
)
def invite(
    uses: int, days: float, lab_did: str | None, home: Path | None, key: Path | None, out: Path
) -> None:
    """Sign an invitation for a lab that lets in only who is invited. Needs no network.

    An operator's invitation counts once for all of its nodes. On the newcomer's machine: put the file into the node's
    home, or `node join --invitation FILE`.

    \b
    Examples:
      archipel lab invite
      archipel lab invite --uses 20 --days 30 --out class.json
    """
    from archipel.node.membership import seal
    from archipel.records.membership import Invitation

    folder = home_folder("lab", home, make=False)
    own = load_key(key or folder / "operator.key")
    said = Invitation(
        lab=lab_did or name_of_key(folder / "lab.key"),
        by=own.did,
        name=secrets.token_hex(8),
        uses=uses,
        until_ms=clock_ms() + int(days * DAY_MS),
    )
    with mending(OSError):
        out.touch(mode=0o600)
        out.write_text(seal(own, said).model_dump_json() + "\n", "utf-8")
    click.echo(f"{out}: {counted(uses, 'newcomer')} may come to {said.lab} within {days:g} days")


def _names_in(path: Path) -> tuple[str, ...]:
    """One did a line; empty lines and what follows a # are passed over."""
    from archipel.identity import BadDid, did_to_public_key
    from archipel.records.membership import MAX_ALLOWED

    with mending(OSError, ValueError):
        text = path.read_bytes()[: MAX_LIST_BYTES + 1].decode()
    words = [line.partition("#")[0].strip() for line in text.splitlines()]
    names = tuple(dict.fromkeys(word for word in words if word))
    if len(names) > MAX_ALLOWED or len(text) > MAX_LIST_BYTES:
        raise Mendable(
            f"{path} has more than {MAX_ALLOWED} keys; list operators instead of nodes, or invite"
        )
    with mending(BadDid):
        for name in names:
            did_to_public_key(name)
    return names


async def _rule(
    url: str, own: Any, changes: dict[str, Any], allowed: tuple[str, ...] | None
) -> None:
    from archipel.node.client import LabClient
    from archipel.records.documents import LabFacts
    from archipel.records.membership import JoiningRuled

    async with LabClient(url, own) as lab:
        await lab.greet()
        rule = (await lab.read(LabFacts, "/lab")).joining
        known = {} if rule is None else rule.model_dump()
        if allowed is None and known.get("allowed"):
            raise Mendable(
                f"the lab's list has {known['allowed']} keys, and a rule is said whole: give the list again with "
                "--allow FILE, an empty one to have none"
            )
        await lab.submit(JoiningRuled, **(known | changes | {"allowed": allowed or ()}))


async def _shown(url: str) -> dict[str, Any]:
    from archipel.node.client import LabReader
    from archipel.records.documents import LabFacts

    async with LabReader(url) as lab:
        rule = (await lab.read(LabFacts, "/lab")).joining
    if rule is None:
        raise Mendable("this lab does not say who may join; it runs an older release")
    return rule.model_dump()


def _words(rule: dict[str, Any]) -> str:
    who = {
        "open": "anybody may join",
        "listed": f"only who is on the list of {counted(rule['allowed'], 'key')} may join",
        "invited": f"who is invited may join, or is on the list of {counted(rule['allowed'], 'key')}",
    }[rule["policy"]]
    bits = rule["effort_bits"]
    effort = f"; a newcomer computes 2^{bits} hashes first" if bits else ""
    return f"{who}{effort}; {counted(rule['places'], 'node')} of one operator at the same time"
