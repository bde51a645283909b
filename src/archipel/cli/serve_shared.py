"""Options of `archipel serve` that hold for whatever is served: address, keys, deadlines, the background."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.serve import WORDS, go_offline_from
from archipel.cli.serve import command as itself

if TYPE_CHECKING:
    from archipel.cli.serve_open import Opening

SHARED = (
    "host", "port", "max_new_tokens", "prove_offline", "keys_file", "timeout_s", "detach", "log",
)  # fmt: skip


def with_shared(command: click.Command) -> click.Command:
    """The command with these options of `archipel serve` too."""
    command.params += [each for each in itself.params if each.name in SHARED]
    return command


def opened(given: dict[str, Any]) -> "Opening | None":
    """A door that is about to open, by what was given of `SHARED`; None: it was opened in the background.

    Raises:
        Mendable: see `serve_open.opening_at` and `serve_detached.detached`.
    """
    from archipel.cli.doors import at_work, keep_memory
    from archipel.cli.serve_detached import say_detached
    from archipel.cli.serve_open import opening_at

    if given["detach"]:
        say_detached(click.get_current_context().meta[WORDS])
        return None
    at_work("loading")
    keep_memory()
    keys: Path | None = given["keys_file"]
    opening = opening_at(given["host"], given["port"], keys, given["timeout_s"], given["log"])
    if given["prove_offline"]:
        go_offline_from(opening.address.removeprefix("http://"))
    return opening
