"""`archipel ledger anchor`: a tree head on a public chain, and whether one that is there is of this ledger."""

import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LabUrl, Mendable, mending, show
from archipel.cli.lab_door import EXPECT, JSON
from archipel.cli.ledger_place import one_place
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.ledger.anchored_head import AnchoredHead
    from archipel.ledger.evm import Chain, Placed
    from archipel.ledger.tree_head import TreeHead

FOLDER = "anchors"
"""Beside a mirror's checkpoint."""
POLL_S = 1.0
SHOWS = (
    "this head existed no later than that, if the chain is what the node says; not that this is the only history, "
    "nor who wrote it"
)


class Coins(click.ParamType):
    """An amount of a chain's coin, as wei."""

    name = "coins"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Exact: no float."""
        try:
            wei = Decimal(str(value)[:40]) * 10**18
        except InvalidOperation:
            wei = Decimal("NaN")
        if not wei.is_finite() or not 0 < wei <= 10**24 or wei != int(wei):
            self.fail(f"{value!r:.60} is no amount; expected one such as 0.01", param, ctx)
        return int(wei)


@click.command()
@click.argument("place", metavar="[URL | DIR | FILE]", required=False)
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help="The same as the place: a lab that runs."
)
@click.option(
    "--ledger", metavar="URL", help="The same as the place: a file, a folder or postgresql://..."
)
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@EXPECT
@click.option("--rpc", required=True, metavar="URL", help="A node of the chain, by JSON-RPC.")
@click.option("--chain", type=click.IntRange(1), metavar="ID", help="Refuse any other chain.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who pays: 64 hexadecimal digits, in a file of mode 0600.",
)
@click.option("--to", metavar="ADDRESS", help="Send it there [to who pays].")
@click.option(
    "--max-cost",
    "max_wei",
    default="0.01",
    show_default=True,
    type=Coins(),
    help="Most of the chain's coin that is paid.",
)
@click.option(
    "--wait",
    "wait_s",
    default=300.0,
    show_default=True,
    type=click.FloatRange(0.0, 86_400.0),
    help="Most seconds until it stands in a block.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder for the file [{FOLDER} in a mirror].",
)
@click.option(
    "--check",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Send nothing: is the head in FILE on the chain, and of this mirror?",
)
@JSON
def anchor(
    place: str | None,
    url: str | None,
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    rpc: str,
    chain: int | None,
    key_file: Path | None,
    to: str | None,
    max_wei: int,
    wait_s: float,
    out: Path | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Put the tree head of a ledger on a public chain (Ethereum and its like), or check one that is there.

    All of the ledger is verified first. One transaction then carries origin, size and root, and no money; where it
    stands is written into a small file, before it is sent. With --check the head is compared with what the chain
    has: it existed no later than its block. That there is no other history, no chain can show.

    \b
    Examples:
      archipel ledger anchor lab-ledger --rpc https://node.example --chain 1 --key-file payer.key
      archipel ledger anchor lab-ledger --rpc https://other.example --check lab-ledger/anchors/1-0x5e....json
    """
    from archipel.ledger.evm import Chain, ChainError
    from archipel.ledger.storage import LedgerError

    url, ledger = one_place(place, ledger, url, home)
    with mending(LedgerError, OSError, ValueError), Chain(rpc) as node:
        if file is not None:
            if key_file or to or out:
                raise click.UsageError(
                    "--check sends nothing: give it without --key-file, --to and --out"
                )
            _check(file, ledger, expect, node, as_json)
            return
        if key_file is None:
            raise click.UsageError(
                "--key-file: whose key pays for the transaction? (or --check FILE)"
            )
        folder = out or _beside(ledger)
        from archipel.cli.ledger_checked import read_ledger
        from archipel.ledger.evm_signing import is_address, payer_in

        payer = payer_in(key_file)
        if to is not None and not is_address(to):
            raise click.UsageError(f"--to: {to!r:.60} is no address, or one that was mistyped")
        number = node.number("eth_chainId")
        if chain is not None and number != chain:
            raise ChainError(f"{node.name} is of chain {number}; expected {chain}")
        head = read_ledger(url, ledger, home, expect).head
        made, raw = _signed(node, number, payer, to or payer.address, head, max_wei)
        path = _write(
            folder, made
        )  # before it is sent: whatever happens then, it is known which one it was
        _send(node, made.tx, raw, path)
        click.echo(f"sent {made.tx} to chain {number}; waiting for its block", err=True)
        placed = _awaited(node, made.tx, path, wait_s)
        made = made.model_copy(update={"block": placed.block})
        _write(folder, made)
    facts = {**made.model_dump(), "file": str(path), "at_s": placed.at_s, "sender": placed.sender}
    show(facts, as_json, lambda: f"{_where(made, placed)}\nfile {path}\nshows: {SHOWS}")


def _beside(ledger: str | None) -> Path:
    from archipel.ledger.mirror import CHECKPOINT

    if ledger is None or not (Path(ledger) / CHECKPOINT).is_file():
        raise click.UsageError("--out: where to write the file? (only a mirror has a place for it)")
    return Path(ledger) / FOLDER


def _signed(
    node: "Chain", chain: int, payer: Any, to: str, head: "TreeHead", max_wei: int
) -> tuple["AnchoredHead", str]:
    """(the anchored head, the transaction as it is sent)."""
    from archipel.ledger.anchored_head import anchored, calldata
    from archipel.ledger.evm_signing import offered

    data = calldata(head)
    asked = {"from": payer.address, "to": to, "value": "0x0", "data": f"0x{data.hex()}"}
    gas, price = node.number("eth_estimateGas", asked), node.number("eth_gasPrice")
    offer = offered(gas, price, max_wei)
    nonce = node.number("eth_getTransactionCount", payer.address, "pending")
    tx, raw = payer.signed(chain, nonce, to, data, offer)
    return anchored(head, chain, tx), raw


def _send(node: "Chain", tx: str, raw: str, path: Path) -> None:
    """What the node refused, and does not know either, anchors nothing: its file goes again."""
    from archipel.ledger.evm import ChainError, ChainUnreachable

    try:
        told = node.ask("eth_sendRawTransaction", raw)
    except ChainUnreachable as error:
        raise Mendable(
            f"{error}; it may have taken {tx} all the same: look with --check {path}"
        ) from None
    except ChainError:
        if node.ask("eth_getTransactionByHash", tx) is None:  # else it has it from an earlier call
            path.unlink(missing_ok=True)
            raise
    else:
        if told != tx:
            raise ChainError(
                f"{node.name} took it as {str(told)[:80]!r}; it is {tx}: look with --check {path}"
            )


def _awaited(node: "Chain", tx: str, path: Path, wait_s: float) -> "Placed":
    from archipel.ledger.evm import ChainUnreachable

    until, said = time.monotonic() + wait_s, "in no block yet"
    while True:
        try:
            placed = node.placed(tx)
        except ChainUnreachable as error:
            placed, said = None, str(error)
        if placed is not None:
            return placed
        if time.monotonic() > until:
            raise Mendable(
                f"{tx} was sent; {said} after {wait_s:g} s. Look again later: --check {path}"
            )
        time.sleep(POLL_S)


def _check(
    file: Path, ledger: str | None, expect: str | None, node: "Chain", as_json: bool
) -> None:
    """Refuse what the chain or the mirror does not bear out; say what is left."""
    from archipel.cli.ledger_checked import expected, mirror_in
    from archipel.ledger.anchored_head import (
        MAX_FILE_BYTES,
        BadAnchoredHead,
        check_prefix,
        read_anchored_head,
    )
    from archipel.ledger.evm import ChainError

    if ledger is None or "://" in ledger or not Path(ledger).is_dir():
        raise click.UsageError(
            "--check compares with a mirror's folder: `archipel ledger mirror` makes one"
        )
    with file.open("rb") as opened:
        held = read_anchored_head(opened.read(MAX_FILE_BYTES + 1))
    kept, did = mirror_in(Path(ledger))
    expected(did, expect)
    if kept.head is None:
        raise Mendable(f"{ledger} has no checkpoint any more; look again")
    check_prefix(held, kept.head, kept.nodes())
    number = node.number("eth_chainId")
    if number != held.chain:
        raise ChainError(f"{node.name} is of chain {number}; the anchored head is on {held.chain}")
    placed = node.placed(held.tx)
    if placed is None:
        raise Mendable(f"{held.tx} is in no block yet: nothing is shown; look again later")
    if held.block not in (None, placed.block):
        raise BadAnchoredHead(
            f"{held.tx} stands in block {placed.block}; {file} says {held.block}: the chain was written anew"
        )
    if placed.data != held.calldata():
        raise BadAnchoredHead(
            f"{held.tx} carries {placed.data[:60]!r}, which is not the head in {file}"
        )
    held = held.model_copy(update={"block": placed.block})
    facts = {**held.model_dump(), "holds": True, "at_s": placed.at_s, "sender": placed.sender}
    facts |= {"blocks_since": placed.newest - placed.block, "entries": kept.size, "node": node.name}
    lines = (
        f"holds: {_where(held, placed)}",
        f"{counted(placed.newest - placed.block, 'block', 'blocks')} since, by {node.name}, who is believed: ask another",
        f"the mirror's {counted(kept.size, 'entry', 'entries')} go on from it",
        f"shows: {SHOWS}",
    )
    show(facts, as_json, lambda: "\n".join(lines))


def _where(held: "AnchoredHead", placed: "Placed") -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(placed.at_s, 2**40)))
    return (
        f"{held.origin}, {counted(held.size, 'entry', 'entries')}, root {held.root}: in block {placed.block} of "
        f"chain {held.chain} at {at}, sent by {placed.sender}"
    )


def _write(folder: Path, made: "AnchoredHead") -> Path:
    """Whole or as it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / made.name
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(made.to_bytes())
    aside.replace(path)
    return path
