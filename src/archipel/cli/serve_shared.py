"""What `archipel serve` and its kin share: options, declared by the former alone, and what is done by them."""

import contextlib
import copy
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, keep_memory, mending

if TYPE_CHECKING:
    from archipel.cli.serve_open import Opening
    from archipel.serve.desk import Desk
    from archipel.serve.drafting import Draft
    from archipel.serve.served import How, Served

WORDS = "archipel.serve.words"
"""Where click's context keeps what the command was given."""
GIGABYTE = 1_000_000_000
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


def with_options(
    command: click.Command, itself: click.Command, *names: str, **meanings: str
) -> click.Command:
    """The command with these options of `archipel serve` too.

    itself: that command. meanings: name of an option -> its help, where it means something narrower here.
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
    exact, guessed_by = given.get("exact"), guesser(given.get("draft", "none"))
    promised = bool(given.get("deterministic") or given.get("sign") or exact)
    weights = given["weights"]
    return How(name, limits, Room(), max_new_tokens, weights, guessed_by, exact, promised)


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


def guesser(said: str) -> "Draft":
    """Who guesses, by what --draft says. Raises Mendable: neither a word nor a directory."""
    words: dict[str, Draft] = {"none": "none", "prompt": "prompt"}
    if said in words:
        return words[said]
    if not Path(said).is_dir():
        raise Mendable(
            f"--draft {said!r:.200}; expected none, prompt, or the directory of a small model of the same tokens"
        )
    return Path(said)


def go_offline_from(address: str) -> None:
    """Leave the network but for what listens there, and say what that shows. Raises Mendable: this machine cannot show it."""
    from archipel.work.sandbox.offline import NOWHERE, StillOnline, go_offline

    with mending(StillOnline):
        found = go_offline()
    click.echo(
        f"offline: this process is in {found.namespace}, whose only interface is {', '.join(found.interfaces)}; a "
        f"connection to {NOWHERE[0]} gets {found.refused!r}; no privilege leads back. What it can be reached by is the "
        f"socket at {address}, which was made before"
    )
