"""`archipel chat`: talk to a model directory on this machine."""

from pathlib import Path

import click

from archipel.cli.engines import device_option

USUAL_TOKENS = 64
"""Of an answer, where nobody says how long it may be and no server does."""


@click.command()
@click.argument(
    "model", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--url",
    metavar="URL",
    help="A server of models, `archipel serve` or another, instead of MODEL.",
)
@click.option("--name", metavar="NAME", help="With --url: which of its models [its first].")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --url: where its API key stands, mode 0600 [OPENAI_API_KEY, or that of your own server].",
)
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where MODEL is an adapter: the model that it lies over [the directory that it names].",
)
@click.option("--prompt", help="Answer this one prompt and end.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1, 65536),
    help=f"Longest answer [{USUAL_TOKENS}; with --url: what the server allows].",
)
@click.option(
    "--temperature",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0.0, 10.0),
    help="0 takes the likeliest token each time.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the sampling."
)
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    help="Also end an answer before this text; may be given more than once.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@device_option("answers")
def command(
    model: Path | None,
    url: str | None,
    name: str | None,
    key_file: Path | None,
    base: Path | None,
    prompt: str | None,
    max_new_tokens: int | None,
    temperature: float,
    seed: int,
    stop: tuple[str, ...],
    threads: int,
    device: str,
) -> None:
    """Talk to MODEL, on this machine alone, or to one that is served. A line is a prompt; an empty line or Ctrl-D ends.

    \b
    Examples:
      archipel chat trained
      archipel chat trained --prompt "hcafmb="
      archipel chat adapter --base start
      archipel chat --url http://127.0.0.1:8450
      archipel chat base-model --prompt "Q: 3+4 A:" --stop Q:
    """
    from datetime import datetime

    from archipel.cli.chat_served import Served, settings_of, talk
    from archipel.cli.doors import at_work, mending

    if not all(stop):
        raise click.BadParameter("an empty text ends every answer; give some", param_hint="--stop")
    if url is not None and model is None:
        settings = settings_of(name, max_new_tokens, temperature, seed, stop)
        talk(Served(url, settings, key_file), prompt, _ask)
        return
    if model is None or url is not None:
        raise click.UsageError("name a MODEL directory, or a server by --url")
    at_work("loading")
    import torch

    from archipel.engine.engine import NonFiniteLogits
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer
    from archipel.training.wording import NoPieces
    from archipel.work.conversation import Conversation
    from archipel.work.folders import folder_of

    torch.set_num_threads(threads)
    with mending(InvalidModel, InvalidTokenizer, NoDevice, NoPieces, OSError):
        ready_device(device)
        folder = folder_of(model, base, device)
        conversation = Conversation(
            folder, max_new_tokens or USUAL_TOKENS, temperature, seed, stop=stop
        )
    if prompt is not None:
        with mending(ValueError, NonFiniteLogits):
            click.echo(conversation.answer(prompt, datetime.now().astimezone()))
        return
    click.echo(f"{model}: {conversation.describe()}; an empty line ends", err=True)
    while line := _ask():
        try:
            click.echo(conversation.answer(line, datetime.now().astimezone()))
        except (ValueError, NonFiniteLogits) as error:
            click.echo(f"cannot answer: {error}", err=True)


def _ask() -> str:
    try:
        return str(click.prompt("you", prompt_suffix="> ", default="", show_default=False))
    except click.Abort:
        return ""
