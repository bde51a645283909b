"""Options that belong together: put on a command at once (`together`), or taken by it as one argument (`as_one`)."""

from collections.abc import Callable
from functools import wraps
from typing import Any

Command = Callable[..., Any]
Option = Callable[[Command], Command]
"""As `click.option` makes it."""


def together(*options: Option) -> Option:
    """All of them, in this order."""

    def on(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return on


def as_one(name: str, make: Command, *options: Option) -> Option:
    """All of them, of which the command takes what `make` makes, told each by its name, as its argument `name`."""

    def on(command: Command) -> Command:
        @wraps(command)
        def gathered(**given: Any) -> Any:
            told = {each: given.pop(each) for each in names}
            return command(**given, **{name: make(**told)})

        before = len(getattr(command, "__click_params__", ()))
        with_options: Any = together(*options)(gathered)
        names = [param.name for param in with_options.__click_params__[before:]]
        return gathered

    return on
