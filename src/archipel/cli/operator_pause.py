"""`archipel operator pause` and `resume`: a node is given no work for a while, because its operator said so."""

from pathlib import Path

import click

from archipel.cli.doors import LAB, KeyName, home_folder, show
from archipel.cli.keys import load_key
from archipel.cli.lab_door import JSON, ask_lab

KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The operator's key; for a node without one, the node's own [~/.archipel/operator/operator.key].",
)


@click.command()
@click.argument("node", type=KeyName(), metavar="NODE_DID")
@click.option("--reason", default="its operator said so", show_default=True, help="For the ledger.")
@KEY
@LAB
@JSON
def pause(node: str, reason: str, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Have the node NODE_DID given no work from now on; what it holds may be answered, and is paid.

    \b
    Example:
      archipel operator pause did:key:z6Mk... --reason "the room is hot" --lab http://lab.example:8440
    """
    from archipel.node.membership import pause_node

    index = ask_lab(pause_node(lab_url, load_key(key_path(key)), node, reason)).index
    show({"node": node, "entry": index}, as_json, lambda: f"{node} is paused, entry {index}")


@click.command()
@click.argument("node", type=KeyName(), metavar="NODE_DID")
@KEY
@LAB
@JSON
def resume(node: str, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Let the paused node NODE_DID have work again.

    \b
    Example:
      archipel operator resume did:key:z6Mk... --lab http://lab.example:8440
    """
    from archipel.node.membership import resume_node

    index = ask_lab(resume_node(lab_url, load_key(key_path(key)), node)).index
    show({"node": node, "entry": index}, as_json, lambda: f"{node} may work again, entry {index}")


def key_path(key: Path | None) -> Path:
    """Where the operator's key lies."""
    return key or home_folder("operator", None, make=False) / "operator.key"
