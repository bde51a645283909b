"""`archipel run fund`: set credits aside for a run that is open."""

from pathlib import Path

import click

from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import LAB, show
from archipel.cli.keys import operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names
from archipel.cli.run_budget import fund_run


@click.command()
@click.argument("name", shell_complete=run_names)
@click.argument("micro", metavar="CREDITS", type=Amount())
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Whose wallet pays [~/.archipel/lab/operator.key].",
)
@LAB
@JSON
def fund(name: str, micro: int, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Set CREDITS of a wallet aside for the run NAME, which from then on spends no more than was set aside for it.

    Anybody may who has a wallet at the lab, and several may; the first, for a run on its operator's account, gives all that
    the rest of it costs, or is an operator of the lab. A run that is out of credits hands out no work that costs
    any; funded again, it goes on. At its end the unspent goes back to its funders, in proportion to what they gave.

    \b
    Examples:
      archipel run fund secret-order 50
      archipel run fund secret-order 0.25 --key sponsor.key --lab http://lab.example:8440
    """
    own = operator_key(key)
    index = ask_lab(fund_run(lab_url, own, name, micro))
    facts = {"run": name, "funder": own.did, "micro": micro, "entry": index}
    text = f"{credits_words(micro)} set aside for run {name}, entry {index}"
    show(facts, as_json, lambda: text)
