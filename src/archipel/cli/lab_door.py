"""Asking a lab from a command: its refusals and its absence end as one sentence."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from archipel.cli.doors import KeyName, LabUrl, Mendable

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
EXPECT = click.option(
    "--expect", metavar="DID", type=KeyName(), help="Refuse the ledger of any other lab."
)
MIRRORS = click.option(
    "--mirror",
    "mirrors",
    metavar="URL",
    type=LabUrl(),
    multiple=True,
    help="Where blobs are asked for before the lab; nothing from there is believed. May be given several times.",
)
HEAD = click.option(
    "--head",
    "head_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="A head of this lab from earlier: the ledger must have gone on from there.",
)
THREADS = click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
"""Of a command that computes again what a lab tells."""


def bounded_fetch(where: str) -> Callable[[F], F]:
    """A bound on what such a command fetches and keeps."""
    return click.option(
        "--max-gb",
        default=20.0,
        show_default=True,
        type=click.FloatRange(0.001),
        help=f"Most that is fetched and kept in {where}.",
    )


def ask_lab(question: Coroutine[Any, Any, T]) -> T:
    """Run an exchange with a lab; its refusals and its absence end as one sentence."""
    from archipel.node.exchange import LabRefused, LabUnreachable

    try:
        return asyncio.run(question)
    except LabUnreachable as error:
        raise Mendable(f"no answer from the lab: {error}; is it running? (--lab URL)") from None
    except LabRefused as error:
        raise Mendable(f"the lab refused: {error}") from None
