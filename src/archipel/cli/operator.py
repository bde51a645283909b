"""`archipel operator`: one key for many nodes, which need not lie on any of their machines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import LAB, KeyName, Mendable, home_folder, mending, show
from archipel.cli.helping import Group
from archipel.cli.keys import load_key, new_passphrase
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.ledger_place import checked_ledger, ledger_options
from archipel.cli.operator_login import login
from archipel.cli.operator_pause import pause, resume
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.state import LabState

DAY_MS = 86_400_000
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The operator's key [~/.archipel/operator/operator.key].",
)
SEALED = click.option(
    "--passphrase", "is_sealed", is_flag=True, help="Seal the key; asked twice on the terminal."
)
NEW_FILE = click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the new passphrase stands, instead of the terminal: a file of mode 0600, or /dev/fd/N.",
)


@click.group(cls=Group)
def command() -> None:
    """One key for all nodes of an operator: what they earn, risk and are known for is its own.

    The key signs delegations, revocations, pauses and log-ins and nothing else; keep it away from the nodes' machines.
    """


for each in (login, pause, resume):
    command.add_command(each)


@command.command()
@KEY
@SEALED
@NEW_FILE
def new(key: Path | None, is_sealed: bool, new_passphrase_file: Path | None) -> None:
    """Make an operator's key and print its name.

    \b
    Examples:
      archipel operator new --passphrase
      archipel operator new --key /media/stick/operator.key
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from archipel.identity import Identity, IdentityError

    path = _path(key, make=True)
    if path.exists():
        raise Mendable(f"{path} is there already and stays as it is; give another --key")
    asked = is_sealed or new_passphrase_file is not None
    word = new_passphrase(path, new_passphrase_file) if asked else b""
    made = Identity(Ed25519PrivateKey.generate())
    with mending(IdentityError, OSError):
        if not made.save(path, word):
            raise Mendable(f"{path} was made by another process meanwhile and stays as it is")
    click.echo(made.did)
    click.echo(
        f"the key is in {path}{', sealed' if word else ''}; a copy of it is the only way back",
        err=True,
    )


@command.command()
@click.argument("node", type=KeyName(), metavar="NODE_DID")
@click.option("--lab", "lab_did", type=KeyName(), metavar="DID", help="Only for this lab [any].")
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=36_500),
    help="Until when it holds [until it is revoked].",
)
@click.option(
    "--replaces",
    type=KeyName(),
    metavar="DID",
    help="The node's key before, which is revoked when the new one joins.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("delegation.json"),
    show_default=True,
    help="File to write; it is no secret.",
)
@KEY
def delegate(
    node: str,
    lab_did: str | None,
    days: float | None,
    replaces: str | None,
    out: Path,
    key: Path | None,
) -> None:
    """Say that the key NODE_DID speaks for this operator; the node shows it to labs (`node key` prints its name).

    Needs no network. On the node's machine: put the file into its home, or `node join --delegation FILE`.

    \b
    Examples:
      archipel operator delegate did:key:z6Mk... --days 365
      archipel operator delegate did:key:z6Mk... --replaces did:key:z6Mk... --out new.json
    """
    from archipel.node.membership import seal
    from archipel.records.membership import Delegation

    own, now_ms = load_key(_path(key)), clock_ms()
    if node == own.did or replaces == node:
        raise Mendable(
            "an operator's key is no node's, and no key replaces itself; give the node's"
        )
    said = Delegation(
        operator=own.did,
        node=node,
        issued_ms=now_ms,
        until_ms=None if days is None else now_ms + int(days * DAY_MS),
        lab=lab_did,
        replaces=replaces,
    )
    with mending(OSError):
        out.write_text(seal(own, said).model_dump_json() + "\n", "utf-8")
    until = "until it is revoked" if days is None else f"for {days:g} days"
    click.echo(f"{out}: {node} speaks for {own.did} {until}")


@command.command()
@click.argument("node", type=KeyName(), metavar="NODE_DID")
@click.option("--reason", default="its operator said so", show_default=True, help="For the ledger.")
@KEY
@LAB
@JSON
def revoke(node: str, reason: str, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Take back that the key NODE_DID speaks for this operator, for good; what it holds goes to other nodes.

    What it earned stays the operator's. Labs are told one by one.

    \b
    Example:
      archipel operator revoke did:key:z6Mk... --reason "the machine was sold" --lab http://lab.example:8440
    """
    from archipel.node.membership import revoke_key

    index = ask_lab(revoke_key(lab_url, load_key(_path(key)), node, reason)).index
    show({"node": node, "entry": index}, as_json, lambda: f"{node} is revoked, entry {index}")


@command.command("list")
@click.option("--operator", "did", type=KeyName(), metavar="DID", help="Only this one [all].")
@ledger_options
@JSON
def list_(
    did: str | None,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Operators of a lab's nodes: balance, reputation, and every key with what holds of it.

    Recomputed from the ledger, which anybody can do.

    \b
    Examples:
      archipel operator list --lab http://lab.example:8440
      archipel operator list --operator did:key:z6Mk... --ledger mirror --json
    """
    state = checked_ledger(url, home, ledger, expect).found.state
    rows = [_facts(state, each) for each in sorted(state.providers) if did in (None, each)]
    if did is not None and not rows:
        raise Mendable(f"{did} has no nodes in this ledger")
    show(
        {"lab": state.lab, "operators": rows},
        as_json,
        lambda: (
            "\n".join(line for row in rows for line in _lines(row)) or "no node has an operator"
        ),
    )


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--remove", is_flag=True, help="Leave the key without one.")
@NEW_FILE
def passphrase(file: Path, remove: bool, new_passphrase_file: Path | None) -> None:
    """Seal the key in FILE (of an operator, a node, a lab) by a passphrase, change it, or remove it.

    Every command that reads a sealed key asks on the terminal, or takes archipel --passphrase-file.

    \b
    Examples:
      archipel operator passphrase ~/.archipel/node/node.key
      archipel operator passphrase operator.key --remove
    """
    from archipel.identity import IdentityError

    own = load_key(file)
    word = b"" if remove else new_passphrase(file, new_passphrase_file)
    with mending(IdentityError, OSError):
        own.save(file, word, anew=True)
    click.echo(f"{file}: the key of {own.did} is {'sealed' if word else 'not sealed'}")


def _path(key: Path | None, make: bool = False) -> Path:
    return key or home_folder("operator", None, make=make) / "operator.key"


def _facts(state: "LabState", did: str) -> dict[str, Any]:
    from archipel.market.journal import stake, wallet

    provider = state.providers[did]
    known = provider.standing
    return {
        "operator": did,
        "balance_micro": state.book.get(wallet(did), 0),
        "stake_micro": state.book.get(stake(did), 0),
        "verified": known.verified,
        "soft": known.soft,
        "hard": known.hard,
        "quarantine": None if known.quarantine is None else known.quarantine.work,
        "keys": [_key_facts(state, did, key) for key in provider.keys],
    }


def _key_facts(state: "LabState", operator: str, key: str) -> dict[str, Any]:
    known = state.delegations.get(key)
    if known is None or known.operator != operator:
        gone = "before it came"
        known_of = {"node": key, "here": False, "paused": None, "works": 0, "until_ms": None}
        return known_of | {"revoked": gone}
    node = state.nodes.get(key)
    return {
        "node": key,
        "here": node is not None and node.present,
        "paused": None if key not in state.paused else state.paused[key].reason,
        "works": 0 if node is None else node.works,
        "until_ms": known.until_ms,
        "revoked": known.revoked,
    }


def _lines(row: dict[str, Any]) -> Iterator[str]:
    from archipel.cli.doors import printable

    caught = "" if row["quarantine"] is None else f", IN QUARANTINE for {row['quarantine']}"
    yield (
        f"{row['operator']}  {row['balance_micro'] / 1e6:+.6f} credits and a stake of {row['stake_micro'] / 1e6:.6f}, "
        f"{counted(row['verified'], 'answer')} found right in a row, "
        f"{row['soft']} soft and {row['hard']} hard verdicts{caught}"
    )
    for key in row["keys"]:
        holds = "here" if key["here"] else "away"
        if key["paused"] is not None:
            holds += f", paused: {json.dumps(printable(key['paused']), ensure_ascii=False)}"
        if key["revoked"] is not None:
            holds = f"revoked: {json.dumps(printable(key['revoked']), ensure_ascii=False)}"
        yield f"  {key['node']}  {counted(key['works'], 'work')}  {holds}"
