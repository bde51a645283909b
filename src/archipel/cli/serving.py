"""`archipel serve`: a command that serves a model, unless its first word is one of the commands below it."""

import importlib
from typing import Any

import click

from archipel.cli.serve import command as itself
from archipel.cli.serve_shared import WORDS

COMMANDS = {
    "cascade": ("serve_cascade", "A small and a large model behind one name"),
    "calibrate": (
        "serve_calibrate",
        "When a small model's answer will do, from your own questions",
    ),
    "router": ("serve_router", "Several specialists behind one name"),
    "list": ("serve_list", "Servers of yours that run on this machine, detached or not"),
    "pool": ("serve_pool", "One model over several of your own devices"),
    "stop": ("serve_list", "End a server: what it is answering is ended first"),
}
"""Name -> its file, in which it is called so or `command`; what it does."""
AS_OPTIONS = {"--cascade": "cascade", "--router": "router"}
"""What people may also type as first word."""


class Serving(click.Group):
    """The commands below, each in a file of its own; anything else is asked of `itself`."""

    itself = itself

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's file."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"archipel.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, f"{cmd_name}_command", None) or module.command
        return found

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Of whichever command is meant."""
        args = [AS_OPTIONS.get(args[0], args[0]), *args[1:]] if args else args
        words = list(args)
        if args and args[0] in COMMANDS:
            made = super().make_context(info_name, args, parent, **extra)
            made.meta[WORDS] = words
            return made
        found = itself.make_context(info_name, args, parent, **extra)
        found.meta[WORDS] = words
        return found


def _with_commands(page: Any) -> Any:
    """The options of `itself`, and what else there is."""

    def format_options(ctx: click.Context, formatter: click.HelpFormatter) -> None:
        page(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(f"serve {name}", text) for name, (_, text) in COMMANDS.items()])

    return format_options


itself.format_options = _with_commands(itself.format_options)  # type: ignore[method-assign]
command = Serving("serve", help=itself.help)
