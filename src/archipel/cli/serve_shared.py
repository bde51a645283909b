"""Options of `archipel serve` that its kin take too, declared there alone, and what is done by them."""

import contextlib
import copy
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.serve import GIGABYTE, WORDS, go_offline_from, guesser
from archipel.cli.serve import command as itself

if TYPE_CHECKING:
    from archipel.cli.serve_open import Opening
    from archipel.serve.desk import Desk
    from archipel.serve.served import How, Served

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

PROMISES = ("draft", "deterministic")
"""What answers are made by and hold, of several models as of one."""
ALONE = {
    "exact": "gates, routes and adapters are computed in floating point: serve one model with archipel serve MODEL --exact",
    "sign": "a signature is of what one model said: serve it with archipel serve MODEL --sign",
}
"""What only one model does, and why several do not; still read, so that it is refused with these words."""


def with_options(command: click.Command, *names: str, **meanings: str) -> click.Command:
    """The command with these options of `archipel serve` too.

    meanings: name of an option -> its help, where it means something narrower here.
    """
    for each in itself.params:
        if each.name in (*names, *meanings):
            own = copy.copy(each)
            if isinstance(own, click.Option):
                own.hidden = own.hidden or own.name in ALONE
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
    guessed_by, promised = guesser(given.get("draft", "none")), bool(given.get("deterministic"))
    return How(
        name,
        limits,
        Room(),
        max_new_tokens,
        given["weights"],
        guessed_by,
        is_deterministic=promised,
    )


def check_alone(given: dict[str, Any]) -> None:
    """Raises click.UsageError: something of `ALONE` is asked for."""
    for name, why in ALONE.items():
        if given[name]:
            raise click.UsageError(f"--{name} is not for several models behind one name: {why}")


def alike(served: "Iterable[Served]") -> str:
    """Looked at before anybody asks: what is said of models whose answers do not depend on their company.

    Raises:
        Unsteady: they do.
    """
    from archipel.cli.doors import at_work
    from archipel.serve.served import check_steady

    at_work("looking whether answers depend on their company")
    by_desk: dict[Desk, dict[str, Served]] = {}
    for each in served:
        by_desk.setdefault(each.desk, {})[each.name] = each
    count = sum(check_steady(each) for each in by_desk.values())
    return f", {count} answers alike in any company"


@contextlib.contextmanager
def loading(device: str) -> Iterator[None]:
    """While models are loaded onto a device.

    Raises:
        Mendable: it is not here, a model cannot be used, or answers depend on their company and were not to.
    """
    from archipel.cli.doors import mending
    from archipel.engine.steadiness import Unsteady
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer

    with mending(InvalidModel, InvalidTokenizer, NoDevice, Unsteady, OSError):
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
