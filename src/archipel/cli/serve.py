"""`archipel serve`: a model directory behind the APIs that people's tools speak, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from archipel.cli.credits import Amount
from archipel.cli.engines import device_option

if TYPE_CHECKING:
    from archipel.engine.quantised.arithmetic import Weights
    from archipel.serve.drafting import Draft
    from archipel.serve.served import How, Served

DEFAULT_PORT = 8450
WORDS = "archipel.serve.words"
"""Where click's context keeps what this command was given."""
GIGABYTE = 1_000_000_000
MAX_NAME = 128


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", metavar="NAME", help="What clients call it [the directory's name].")
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where MODEL is an adapter: the model that it lies over [the directory that it names].",
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="NAME=DIR",
    help="Serve this adapter of MODEL, too, under its own name; may be given several times: they share MODEL's weights.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any other asks for an API key, which is made and shown.",
)
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes a free one.",
)
@click.option(
    "--weights",
    type=click.Choice(["auto", "float32", "bfloat16", "int8", "int4"]),
    default="auto",
    show_default=True,
    help="What weights are held as: in fewer bits they take less memory; auto: bfloat16 where this processor is quick "
    "with it, else float32.",
)
@click.option(
    "--draft",
    default="none",
    show_default=True,
    metavar="none|prompt|DIR",
    help="Guess tokens and check several in one step, which changes no answer: by what the text said before (prompt), or "
    "by a small model of the same tokens in DIR.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="The same question gets the same tokens and log-probabilities, bit for bit, whatever else is answered; looked "
    "at before anybody is, and refused where it does not hold. Without a seed, a question's follows from its prompt.",
)
@click.option(
    "--exact",
    type=click.Choice(["w7a8", "w12a13", "w7a15", "w13a15"]),
    help="Compute by this variant of the exact contract: the same bits on every machine. Means --deterministic, too.",
)
@click.option(
    "--sign",
    is_flag=True,
    help="Have answers ready to be fetched signed, in memory for ten minutes, for `archipel answer verify`. Means "
    "--deterministic, too.",
)
@click.option(
    "--meter",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Count what each caller asks into signed receipts in DIR, which has a key of its own: answers and tokens, no "
    "prompt, no name. See `archipel receipts`.",
)
@click.option(
    "--price",
    "price_micro",
    type=Amount(0),
    default=0,
    metavar="CREDITS",
    help="With --meter: for a million tokens, read or answered [0].",
)
@click.option(
    "--window",
    "window_s",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="With --meter: a receipt is written so often, if anything was asked; a server that is cut off loses no more [60].",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library [all cores].",
)
@click.option(
    "--max-cache-gb",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.001, 4096),
    help="Memory for what is being read and said.",
)
@click.option(
    "--max-new-tokens",
    default=1024,
    show_default=True,
    type=click.IntRange(1, 65536),
    help="Longest answer where a question names no limit.",
)
@click.option(
    "--prove-offline",
    is_flag=True,
    help="Leave the network for good before anything is loaded, but for the address that is listened on, and say what "
    "that shows (Linux).",
)
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="API keys, one a line after its user's name, mode 0600; each user's questions take turns with the others' "
    "[one key, made where --host needs it].",
)
@click.option(
    "--timeout",
    "timeout_s",
    default=1800.0,
    show_default=True,
    type=click.FloatRange(1, 604_800),
    help="Seconds for one question in all, its waiting included.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Serve in the background; back when it answers, or with the reason why not.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    hidden=True,
    help="Where a detached one writes; set by --detach.",
)
@device_option("answers")
def command(
    model: Path,
    name: str | None,
    base: Path | None,
    adapters: tuple[str, ...],
    host: str,
    port: int,
    weights: str,
    draft: str,
    deterministic: bool,
    exact: str | None,
    sign: bool,
    meter: Path | None,
    price_micro: int,
    window_s: float | None,
    threads: int | None,
    max_cache_gb: float,
    max_new_tokens: int,
    prove_offline: bool,
    keys_file: Path | None,
    timeout_s: float,
    detach: bool,
    log: Path | None,
    device: str,
) -> None:
    """Serve MODEL behind the OpenAI, Ollama and Anthropic APIs: nothing leaves this machine.

    \b
    Examples:
      archipel serve trained
      archipel serve adapter --base start --name mine
      archipel serve start --adapter law=runs/law --adapter sea=runs/sea
      archipel serve trained --draft prompt
      archipel serve trained --prove-offline
      archipel serve trained --host 0.0.0.0 --keys users
      archipel serve trained --detach
      archipel serve trained --exact w12a13 --sign
      archipel serve trained --keys users --meter meter --price 2.5
    """
    import os

    from archipel.cli.doors import at_work, keep_memory
    from archipel.cli.serve_detached import say_detached
    from archipel.cli.serve_meter import check_meter, metered
    from archipel.cli.serve_open import keep_open, opening_at, own_signing

    beside, guessed_by = named_folders(adapters), guesser(draft)
    check_meter(meter, price_micro, window_s, beside)
    if detach:
        say_detached(click.get_current_context().meta[WORDS])
        return

    at_work("loading")
    keep_memory()
    opening = opening_at(host, port, keys_file, timeout_s, log)
    if prove_offline:
        go_offline_from(opening.address.removeprefix("http://"))
    import torch

    from archipel.engine.capacity import EngineLimits
    from archipel.serve.desk import Room
    from archipel.serve.served import How

    torch.set_num_threads(threads or os.cpu_count() or 1)
    limits = EngineLimits.serving(round(max_cache_gb * GIGABYTE))
    called, kind = name or model.resolve().name, cast("Weights", weights)
    promised = deterministic or sign or exact is not None
    how = How(called, limits, Room(), max_new_tokens, kind, guessed_by, exact, promised)
    served, said = _served(how, (model, base, device), beside)
    signing = own_signing() if sign else None
    if signing is not None:
        said += f", signed by {signing.did}"
    served, metering, counting = metered(served, meter, price_micro, window_s, opening.access)
    said += counting
    keep_open(opening, served, said, signing=signing, metering=metering)


def _served(
    how: "How", where: tuple[Path, Path | None, str], beside: dict[str, Path]
) -> tuple[dict[str, "Served"], str]:
    """All that is served, and what is said of it. where: the directory, what it lies over, and the device."""
    from datetime import datetime

    from archipel.cli.doors import at_work, mending
    from archipel.engine.steadiness import Unsteady
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer
    from archipel.serve.served import check_steady, serve_folder, with_adapters
    from archipel.work.folders import folder_of

    with mending(InvalidModel, InvalidTokenizer, NoDevice, Unsteady, OSError):
        ready_device(where[2])
        folder = folder_of(*where)
        one = serve_folder(folder, how, datetime.now().astimezone())
        served = with_adapters(one, folder.model, beside)
        one = served[how.name]
        said = f"{one.fingerprint}, context {one.positions}"
        if how.is_deterministic:
            at_work("looking whether answers depend on their company")
            said += f", {check_steady(served)} answers alike in any company"
    return served, said


def guesser(said: str) -> "Draft":
    """Who guesses, by what --draft says. Raises Mendable: neither a word nor a directory."""
    from archipel.cli.doors import Mendable

    words: dict[str, Draft] = {"none": "none", "prompt": "prompt"}
    if said in words:
        return words[said]
    if not Path(said).is_dir():
        raise Mendable(
            f"--draft {said!r:.200}; expected none, prompt, or the directory of a small model of the same tokens"
        )
    return Path(said)


def named_folders(said: tuple[str, ...]) -> dict[str, Path]:
    """Directories by the names that they are given as NAME=DIR. Raises Mendable: no name, no directory, or a name twice."""
    from archipel.cli.doors import Mendable

    found: dict[str, Path] = {}
    for each in said:
        name, _, path = each.partition("=")
        if not (name and path and Path(path).is_dir()) or len(name) > MAX_NAME or name in found:
            raise Mendable(f"got {each!r:.200}; expected NAME=DIR with a directory, each name once")
        found[name] = Path(path)
    return found


def go_offline_from(address: str) -> None:
    """Leave the network but for what listens there, and say what that shows. Raises Mendable: this machine cannot show it."""
    from archipel.cli.doors import mending
    from archipel.work.sandbox.offline import NOWHERE, StillOnline, go_offline

    with mending(StillOnline):
        found = go_offline()
    click.echo(
        f"offline: this process is in {found.namespace}, whose only interface is {', '.join(found.interfaces)}; a "
        f"connection to {NOWHERE[0]} gets {found.refused!r}; no privilege leads back. What it can be reached by is the "
        f"socket at {address}, which was made before"
    )
