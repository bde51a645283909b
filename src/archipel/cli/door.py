"""`archipel door`: the training API that existing clients speak, and who may use it."""

import click

from archipel.cli.door_keys import key
from archipel.cli.helping import Group


@click.group(cls=Group)
def command() -> None:
    """A training API over one base model: who may use it, and what was used."""


command.add_command(key)
