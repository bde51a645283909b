"""`archipel serve`: a model directory behind the APIs that people's tools speak, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount
from archipel.cli.doors import Mendable
from archipel.cli.engines import device_option
from archipel.cli.serve_shared import alike, guesser, how_loaded, loading, opened

if TYPE_CHECKING:
    from archipel.serve.served import How, Served

DEFAULT_PORT = 8450
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
    model: Path, name: str | None, base: Path | None, adapters: tuple[str, ...], **given: Any
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
    from archipel.cli.serve_meter import Meter, metered
    from archipel.cli.serve_open import keep_open, own_signing

    beside = named_folders(adapters)
    meter = Meter(given["meter"], given["price_micro"], given["window_s"])
    meter.check(beside)
    guesser(given["draft"])  # refused before a server begins in the background
    opening = opened(given)
    if opening is None:
        return
    how = how_loaded(name or model.resolve().name, given["max_new_tokens"], given)
    served, said = _served(how, (model, base, given["device"]), beside)
    signing = own_signing() if given["sign"] else None
    if signing is not None:
        said += f", signed by {signing.did}"
    served, metering, counting = metered(served, meter, opening.access)
    keep_open(opening, served, said + counting, signing=signing, metering=metering)


def _served(
    how: "How", where: tuple[Path, Path | None, str], beside: dict[str, Path]
) -> tuple[dict[str, "Served"], str]:
    """All that is served, and what is said of it. where: the directory, what it lies over, and the device."""
    from datetime import datetime

    from archipel.serve.served import serve_folder, with_adapters
    from archipel.work.folders import folder_of

    with loading(where[2]):
        folder = folder_of(*where)
        one = serve_folder(folder, how, datetime.now().astimezone())
        served = with_adapters(one, folder.model, beside)
        one = served[how.name]
        said = f"{one.fingerprint}, context {one.positions}"
        return served, said + (alike(served.values()) if how.is_deterministic else "")


def named_folders(said: tuple[str, ...]) -> dict[str, Path]:
    """Directories by the names that they are given as NAME=DIR. Raises Mendable: no name, no directory, or a name twice."""
    found: dict[str, Path] = {}
    for each in said:
        name, _, path = each.partition("=")
        if not (name and path and Path(path).is_dir()) or len(name) > MAX_NAME or name in found:
            raise Mendable(f"got {each!r:.200}; expected NAME=DIR with a directory, each name once")
        found[name] = Path(path)
    return found
