"""`archipel exact check`: which variant of the exact contract a model needs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from archipel.engine.exact.choice import Choice
    from archipel.work.exact_check import Subject

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--text", type=_FILE, help="Calibration text, or .jsonl [a few shipped pages].")
@click.option("--recipe", "recipe_name", help="Instead: a recipe's tasks, and the model's answers.")
@click.option("--secret-file", type=_FILE, help="The secret of the recipe's environment.")
@click.option(
    "--windows",
    default=32,
    show_default=True,
    type=click.IntRange(1, 65_536),
    help="Stretches of text to look at.",
)
@click.option(
    "--bound", type=click.FloatRange(0), metavar="KL", help="Nats from fp32 [bf16's own distance]."
)
@click.option("--variant", "variants", multiple=True, help="Only this one (may be repeated).")
@click.option("--write", is_flag=True, help="Write the choice into MODEL, as exact.json.")
@click.option("--again", is_flag=True, help="Measure also what MODEL/exact.json knows already.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads; they change the time and nothing else.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    model: Path,
    text: Path | None,
    recipe_name: str | None,
    secret_file: Path | None,
    windows: int,
    bound: float | None,
    variants: tuple[str, ...],
    write: bool,
    again: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Measure each variant of the exact contract against fp32 on a text, with bf16 beside them.

    Proposes the cheapest variant that is within the bound, which is bf16's own distance unless you
    give another: exact is then no worse a model than what people run. Ends with 1 if none is.
    What MODEL/exact.json says of the same weights and text is told without measuring again.

    \b
    Examples:
      archipel exact check trained --write
      archipel exact check trained --recipe secret-order --secret-file secret
      archipel exact check trained --text notes.jsonl --bound 1e-4 --json
    """
    import torch

    from archipel.cli.doors import Mendable, mending, show
    from archipel.cli.exact_words import source_of, table
    from archipel.engine.exact.backends import NoBackend
    from archipel.engine.exact.choice import NotCloseEnough, write_choice
    from archipel.engine.exact.variants import UnknownVariant
    from archipel.engine.protocol import WrongWeights
    from archipel.work.exact_check import Asked, check, read

    if text is not None and recipe_name is not None:
        raise click.UsageError("--text and --recipe are two sources; give one of them")
    torch.set_num_threads(threads)

    def tell(words: str) -> None:
        if not as_json:
            click.echo(f"\r\033[K{words}", nl=False, err=True)

    with mending(OSError, ValueError, UnknownVariant, NoBackend, WrongWeights):
        subject = read(model)
        source = source_of(text, recipe_name, secret_file)
        known = None if again else _known(model, subject)
        checked = check(subject, source, Asked(windows, bound, variants), tell, known)
    tell("")
    show(checked.to_json(), as_json, lambda: table(checked))
    if not checked.is_new:
        click.echo(f"measured before: {model / 'exact.json'}; --again measures anew", err=True)
    try:
        choice = checked.choice()
    except NotCloseEnough as error:
        raise Mendable(str(error)) from None
    if write:
        with mending(OSError):
            path = write_choice(model, choice)
        click.echo(f"wrote {path}", err=True)


def _known(model: Path, subject: "Subject") -> "Choice | None":
    """What was chosen before for these weights."""
    from archipel.engine.exact.choice import BadChoice, read_choice
    from archipel.work.exact_check import state_of

    try:
        return read_choice(model, state_of(subject))
    except BadChoice:
        return None
