"""Options of `archipel serve` that its kin take too, declared there alone, and what is done by them."""

import contextlib
import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.serve import GIGABYTE, WORDS, go_offline_from
from archipel.cli.serve import command as itself

if TYPE_CHECKING:
    from archipel.cli.serve_open import Opening
    from archipel.serve.served import How

DOOR = (
    "host",
    "port",
    "max_new_tokens",
    "prove_offline",
    "keys_file",
    "timeout_s",
    "detach",
    "log",
)
"""Where it is asked, by whom, and how long."""
LOADING = ("weights", "threads", "max_cache_gb", "device")
"""How models are loaded."""


def with_options(command: click.Command, *names: str, **meanings: str) -> click.Command:
    """The command with these options of `archipel serve` too.

    meanings: name of an option -> its help, where it means something narrower here.
    """
    for each in itself.params:
        if each.name in (*names, *meanings):
            own = copy.copy(each)
            if isinstance(own, click.Option):
                own.help = meanings.get(str(own.name), own.help)
            command.params.append(own)
    return command


def use_threads(threads: int | None) -> None:
    """Of the tensor library; None: as many as there are cores."""
    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)


def how_loaded(name: str, max_new_tokens: int, given: dict[str, Any]) -> "How":
    """By what was given of `LOADING`; from here on this process has so many threads."""
    from archipel.engine.capacity import EngineLimits
    from archipel.serve.desk import Room
    from archipel.serve.served import How

    use_threads(given["threads"])
    limits = EngineLimits.serving(round(given["max_cache_gb"] * GIGABYTE))
    return How(name, limits, Room(), max_new_tokens, given["weights"])


@contextlib.contextmanager
def loading(device: str) -> Iterator[None]:
    """While models are loaded onto a device.

    Raises:
        Mendable: it is not here, or a model cannot be used.
    """
    from archipel.cli.doors import mending
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer

    with mending(InvalidModel, InvalidTokenizer, NoDevice, OSError):
        ready_device(device)
        yield


def opened(given: dict[str, Any]) -> "Opening | None":
    """A door that is about to open, by what was given of `DOOR`; None: it was opened in the background.

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
