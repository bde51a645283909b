"""`archipel release withdraw`: a contribution is no longer given, said in the ledger."""

from pathlib import Path

import click

from archipel.cli.doors import LAB, KeyName, show
from archipel.cli.lab_door import JSON
from archipel.cli.names import run_names
from archipel.cli.owners import KEY, own_key, say


@click.command()
@click.argument("run", shell_complete=run_names)
@click.option("--data", metavar="DIGEST", help="Bytes that the run was made from, sha256:...")
@click.option("--party", metavar="DID", type=KeyName(), help="All that an operator of nodes did.")
@click.option("--of-key", "node", metavar="DID", type=KeyName(), help="What one node's key did.")
@click.option("--reason", default="", help="For people, in a line.")
@KEY
@LAB
@JSON
def command(
    run: str,
    data: str | None,
    party: str | None,
    node: str | None,
    reason: str,
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Say that a contribution to RUN is no longer given: data, a party's part, or what one key did.

    An operator of nodes takes back its own part or one of its keys', a contributor that the run's charter names its
    data, the lab's operator anything. It is a word in the ledger, for good; what was made from the contribution stays,
    and `archipel release affected RUN` lists it.

    \b
    Examples:
      archipel release withdraw secret-order --data sha256:9f86... --reason "its author asks for it"
      archipel release withdraw secret-order --party did:key:z6Mk... --key operator.key
      archipel release withdraw secret-order --of-key did:key:z6Mk... --reason stolen
    """
    from archipel.records.withdrawal import ContributionWithdrawn

    given = {"data": data, "party": party, "key": node}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise click.UsageError("name one of --data, --party and --of-key")
    ((what, name),) = named.items()
    own = own_key(key)
    index = say(lab_url, own, ContributionWithdrawn, run=run, reason=reason, **named)
    facts = {"run": run, "author": own.did, what: name, "entry": index}
    text = f"entry {index}: {what} {name} of {run} is withdrawn; archipel release affected {run}"
    show(facts, as_json, lambda: text)
