"""`archipel route`: teach a router which specialist knows what."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.engines import device_option

if TYPE_CHECKING:
    from archipel.serve.cascade.heads import Floats
    from archipel.serve.router.routes import Routes

CACHE_BYTES = 2**30
EVERY = 50
BACKGROUND = ""
"""No specialist is called so."""


@click.group("route")
def command() -> None:
    """Which of several specialists a question goes to, learned from examples of each.

    \b
    Examples:
      archipel route train base --examples law=law.jsonl --examples code=code.jsonl --out routes.json
      archipel serve router base law=law-adapter code=code-adapter --routes routes.json
    """


@command.command("train")
@click.argument("base", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--examples",
    multiple=True,
    required=True,
    metavar="NAME=FILE",
    help="A specialist's questions, a JSON object a line: question or messages. Once for each specialist.",
)
@click.option(
    "--add-to",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Routes to add these specialists to; no other's score changes.",
)
@click.option(
    "--background",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Questions of all kinds, which the router measures against [those of all specialists together].",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@device_option("reads")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def train(
    base: Path,
    examples: tuple[str, ...],
    add_to: Path | None,
    background: Path | None,
    threads: int,
    device: str,
    out: Path,
    as_json: bool,
) -> None:
    """Read each specialist's questions with BASE, and write what a router tells them apart by.

    Nothing is trained but a small head for each specialist, fitted on its own questions alone: one more is added without
    touching the others. A question that is like none of them goes to the base.

    \b
    Examples:
      archipel route train base --examples law=law.jsonl --examples code=code.jsonl --out routes.json
      archipel route train base --examples cooking=cooking.jsonl --add-to routes.json --out routes.json
    """
    if add_to is not None and background is not None:
        raise click.UsageError(
            "--background is for new routes; --add-to keeps what they measure against"
        )
    files = dict(_named(each) for each in examples)
    if len(files) < len(examples):
        raise click.UsageError(
            "two --examples have one name; put a specialist's questions into one file"
        )
    import torch

    from archipel.cli.doors import at_work, mending, show
    from archipel.model.config_files import InvalidModel
    from archipel.model.devices import NoDevice
    from archipel.model.tokenizer import InvalidTokenizer
    from archipel.serve.cascade.probes import BadProbes
    from archipel.serve.question import Refusal
    from archipel.serve.router.routes import BadRoutes, write_routes
    from archipel.serve.router.topics import TooFewExamples

    torch.set_num_threads(threads)
    at_work("reading")
    errors = (BadProbes, BadRoutes, TooFewExamples, Refusal, InvalidModel)
    with mending(*errors, InvalidTokenizer, NoDevice, OSError):
        asked = files if background is None else {**files, BACKGROUND: background}
        routes = _routes(base, _states(base, asked, device), add_to)
        write_routes(out, routes)
    told = {each.name: each.examples for each in routes.topics}
    show({"specialists": told}, as_json, lambda: _said(out, routes))


def _routes(base: Path, states: "dict[str, Floats]", add_to: Path | None) -> "Routes":
    """Raises BadRoutes, TooFewExamples."""
    from archipel.serve.cascade.policy import digest_of
    from archipel.serve.router.routes import read_routes, trained, with_topic

    digest = digest_of(base)
    if add_to is None:
        pooled = states.pop(BACKGROUND, None)
        return trained(digest, states, pooled)
    routes = read_routes(add_to, digest, next(iter(states.values())).shape[1])
    for name, hidden in states.items():
        routes = with_topic(routes, name, hidden)
    return routes


def _named(given: str) -> tuple[str, Path]:
    """Raises click.UsageError: not NAME=FILE."""
    name, sign, place = given.partition("=")
    if not sign or not name or not Path(place).is_file():
        raise click.UsageError(f"{given!r:.200} is not NAME=FILE with a file that is there")
    return name, Path(place)


def _states(base: Path, files: dict[str, Path], device: str) -> "dict[str, Floats]":
    """Hidden states (N, d) of each file's questions."""
    import asyncio
    from datetime import datetime

    import numpy as np

    from archipel.engine.capacity import EngineLimits
    from archipel.model.devices import ready_device
    from archipel.serve.cascade.hidden import hidden_of
    from archipel.serve.cascade.probes import read_probes
    from archipel.serve.served import How, serve_folder
    from archipel.work.folders import folder_of

    probes = {name: read_probes(path, None) for name, path in files.items()}
    ready_device(device)
    now = datetime.now().astimezone()
    how = How(base.resolve().name, limits=EngineLimits(max_cache_bytes=CACHE_BYTES))
    served = serve_folder(folder_of(base, None, device), how, now)

    async def read() -> "dict[str, Floats]":
        found = {}
        for name, some in probes.items():
            rows = []
            for probe in some:
                asked = probe.asked(served.name, served.chat_template is not None, 1)
                rows.append(await hidden_of(served, asked, "", now))
                if len(rows) % EVERY == 0:
                    at = name or "background"
                    click.echo(f"{at}: {len(rows)} of {len(some)} questions read", err=True)
            found[name] = np.stack(rows)
        return found

    try:
        return asyncio.run(read())
    finally:
        served.desk.close()


def _said(out: Path, routes: "Routes") -> str:
    each = ", ".join(f"{topic.name} ({topic.examples} examples)" for topic in routes.topics)
    return f"{out}: {each}"
