"""`archipel door`: the training API that existing clients speak, and who may use it."""

import click

from archipel.cli.door_keys import key
from archipel.cli.door_looking import list_, status
from archipel.cli.door_start import start
from archipel.cli.helping import Group


@click.group(cls=Group)
def command() -> None:
    """A training API over one base model: open it, who may use it, and what was used."""


for each in (start, status, list_, key):
    command.add_command(each)
