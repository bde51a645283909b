"""`archipel ledger`: verify, mirror, witness and anchor a lab's ledger."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LabUrl, mending, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import EXPECT, HEAD
from archipel.cli.ledger_anchor import anchor
from archipel.cli.ledger_checked import Checked, read_ledger
from archipel.cli.ledger_evidence import evidence
from archipel.cli.ledger_mirror import mirror
from archipel.cli.ledger_place import one_place
from archipel.cli.ledger_proof import check_proof, prove
from archipel.cli.ledger_witness import witness
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.ledger.tree_head import TreeHead


@click.group(cls=Group)
def command() -> None:
    """Verify, mirror, witness and anchor a lab's ledger."""


for each in (mirror, prove, check_proof, witness, evidence, anchor):
    command.add_command(each)


@command.command()
@click.argument("place", metavar="[URL | DIR | FILE]", required=False)
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    help="The same as the place: a lab that runs, or a mirror behind a web server.",
)
@click.option(
    "--ledger", metavar="URL", help="The same as the place: a file, a folder or postgresql://..."
)
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@EXPECT
@HEAD
@click.option(
    "--save-head",
    "kept_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Keep the newest head here, for next time; one that is there already is compared first.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(
    place: str | None,
    url: str | None,
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    head_path: Path | None,
    kept_path: Path | None,
    as_json: bool,
) -> None:
    """Recompute everything from a ledger: a lab's or a mirror's address, a mirror's or a lab's folder, a file.

    Needs no network for what lies here, no key and no tensor library. Shown: every entry is signed by its author, in the order the lab's tree heads cover, and adds up to
    these balances. Two people who see the same size and root have seen the same entries. Not shown,
    unless their heads are compared: that the lab showed everybody this same ledger, and that a copy
    is the newest. No key is needed.

    \b
    Examples:
      archipel ledger verify
      archipel ledger verify https://lab.example --expect did:key:z6Mk...
      archipel ledger verify https://lab.example --save-head lab.head
      archipel ledger verify mirror --head lab.head --json
    """
    from archipel.cli.heads import save_head

    url, ledger = one_place(place, ledger, url, home)
    earlier = [
        path for path in (head_path, kept_path) if path and (path == head_path or path.exists())
    ]
    checked = read_ledger(url, ledger, home, expect, earlier)
    if kept_path is not None:
        with mending(OSError):
            save_head(kept_path, checked.head)
    show(_facts(checked, earlier), as_json, lambda: "\n".join(_lines(checked, earlier)))


def _facts(checked: Checked, earlier: list[Path]) -> dict[str, Any]:
    state, head = checked.found.state, checked.head
    return {
        "lab": checked.did,
        "entries": head.size,
        "root": _root(head),
        "head": head.note.decode(),
        "compared_heads": [str(path) for path in earlier],
        "tree_heads": checked.heads,
        "snapshots_compared": checked.found.compared,
        "snapshots_of_other_formats": checked.found.passed_over,
        "rounds_cleared": {name: market.cleared for name, market in state.markets.items()},
        "runs": {name: run.version for name, run in state.runs.items()},
        "balances_micro": dict(state.book),
        "sum_micro": sum(state.book.values()),
    }


def _lines(checked: Checked, earlier: list[Path]) -> Iterator[str]:
    state, head, found = checked.found.state, checked.head, checked.found
    yield f"ledger of {checked.did}"
    yield (
        f"{counted(head.size, 'entry', 'entries')} under "
        f"{counted(checked.heads, 'signed tree head')}: all hold"
    )
    yield f"root {_root(head)}"
    yield from (f"goes on from the head in {path}" for path in earlier)
    if not earlier:
        yield "no earlier head was compared: an older copy looks the same (--save-head, --head)"
    compared = counted(found.compared, "snapshot of the state was", "snapshots of the state were")
    yield f"{compared} compared: all hold"
    if found.passed_over:
        passed = counted(
            found.passed_over, "snapshot of another release was", "snapshots of others were"
        )
        yield f"{passed} not compared"
    yield from (f"run {name}: version {run.version}" for name, run in state.runs.items())
    yield from (
        f"run {name}: {counted(market.cleared, 'clearing of its market', 'clearings of its market')}, computed again"
        for name, market in state.markets.items()
    )
    yield from (f"{did}  {micro / 1e6:+.6f} credits" for did, micro in sorted(state.book.items()))
    yield f"balances add up to {sum(state.book.values())} micro-credits"
    yield f"head, as the lab signed it:\n{head.note.decode().rstrip()}"


def _root(head: "TreeHead") -> str:
    return base64.b64encode(head.root).decode()
