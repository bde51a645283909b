"""`archipel lab agree | name-successors`: who may continue a lab's ledger, said beforehand and afterwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, KeyName, mending, show
from archipel.cli.keys import load_key, operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.lab_succeed import FOLDER, took_in
from archipel.cli.lab_succeed_head import mirrored
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.identity import Identity


@click.command()
@FOLDER
@click.option("--successor", required=True, type=KeyName(), metavar="DID", help="Its key.")
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own: a holder's of shares, or one that a charter or the lab names.",
)
@click.option(
    "--out",
    default=Path("agreement.json"),
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, for whoever runs the successor.",
)
@click.option(
    "--as-far-as",
    type=click.IntRange(1),
    metavar="N",
    help="From these N entries on: the newest head of which all blobs are in MIRROR, say.",
)
@JSON
def agree(
    folder: Path, successor: str, key: Path, out: Path, as_far_as: int | None, as_json: bool
) -> None:
    """Agree that one lab continues the ledger in MIRROR, from its newest head on. Needs no network.

    It counts for this head and this lab alone. Sign no second one for the same head: two that continue it both pay out the
    same balances, and your two signatures show it.

    \b
    Examples:
      archipel lab agree mirrors/first --successor did:key:z6Mk... --key anna.key
    """
    from archipel.ledger.taken_over import agreed
    from archipel.records.succession import Agreement

    with took_in():
        found = mirrored(folder, as_far_as)
        own, head = load_key(key), found.checked.head
        said = Agreement(
            predecessor=found.checked.did,
            size=head.size,
            root=f"sha256:{head.root.hex()}",
            successor=successor,
            by=own.did,
        )
        out.write_text(agreed(own, said).model_dump_json() + "\n", "utf-8")
    told = said.model_dump() | {"file": str(out)}
    text = f"{out}: {own.did} agrees that {successor} continues {found.checked.did} from {counted(head.size, 'entry', 'entries')} on"
    show(told, as_json, lambda: text)


@click.command("name-successors")
@click.argument("successors", metavar="[DID[=URL]]...", nargs=-1)
@click.option(
    "--ask",
    multiple=True,
    metavar="URL",
    help="Where else nodes may look, for a lab that owners agree on; they fold its whole ledger first.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A key that may open runs [~/.archipel/lab/operator.key].",
)
@LAB
@JSON
def name_successors(
    successors: tuple[str, ...],
    ask: tuple[str, ...],
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Say who may continue this lab's ledger if it cannot, and where they answer; none: nobody, from now on.

    An entry of the ledger, which replaces the one before. Nodes keep it: when this lab does not answer any more, they ask at
    these addresses. Runs whose charter names successors of their own go on with those alone.

    \b
    Examples:
      archipel lab name-successors did:key:z6Mk...=https://next.example did:key:z6Mk...
    """
    from archipel.node.address import BadAddress, lab_address
    from archipel.records.succession import MAX_ASKED, MAX_SUCCESSORS, Successor

    if len(successors) > MAX_SUCCESSORS or len(ask) > MAX_ASKED:
        raise click.UsageError(
            f"{len(successors)} successors and {len(ask)} times --ask; at most {MAX_SUCCESSORS} and {MAX_ASKED}"
        )
    named = []
    with mending(BadAddress, ValueError):
        for each in successors:
            did, _, url = each.partition("=")
            did = KeyName().convert(did, None, None)
            named.append(Successor(did=did, address=lab_address(url) if url else None))
        elsewhere = tuple(map(lab_address, ask))
    own = operator_key(key)
    ask_lab(_say(lab_url, own, tuple(named), elsewhere))
    told = {"successors": [each.model_dump() for each in named], "ask": elsewhere}
    show(told, as_json, lambda: f"{counted(len(named), 'successor')} named")


async def _say(url: str, own: "Identity", named: tuple[Any, ...], ask: tuple[str, ...]) -> None:
    from archipel.node.client import LabClient
    from archipel.records.succession import SuccessorsNamed

    async with LabClient(url, own) as lab:
        await lab.greet()
        await lab.submit(SuccessorsNamed, successors=named, ask=ask)
