"""How a planner's question becomes a command: options from its request, and five ways to see the answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.planning.requests import REQUESTS, options_of

if TYPE_CHECKING:
    from archipel.planning.asking import Ask

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

SETTING = (
    click.option("--seed", default=0, show_default=True, help="Seed of the sampled worlds."),
    click.option("--samples", default=2000, show_default=True, help="How many worlds to sample."),
    click.option("--as-of", default="", help="Use constants as known then, e.g. 2025-03."),
    click.option(
        "--table", type=click.Path(path_type=Path), help="Your own constants (TOML) on top."
    ),
    click.option(
        "--set", "overrides", multiple=True, metavar="NAME=AMOUNT", help="Replace one constant."
    ),
)
SHOWING = (
    click.option("--json", "as_json", is_flag=True, help="Print data for machines."),
    click.option("--plot", type=click.Path(path_type=Path), help="Write a .png or .svg picture."),
    click.option("--explain", metavar="NAME", help="Print how one quantity came about."),
    click.option("--save", type=click.Path(path_type=Path), help="Write the data to a file too."),
    click.option("--brief", is_flag=True, help="Only the headline, one table and what matters."),
)


def with_options(*groups: tuple[Any, ...]) -> Decorator:
    """Add options in the order given."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for each in [option for group in groups for option in group][::-1]:
            function = each(function)
        return function

    return decorate


def request_options(question: str) -> tuple[Any, ...]:
    """One option per field of the question's request."""
    made = []
    for each in options_of(REQUESTS[question]):
        name, text = f"--{each.name.replace('_', '-')}", each.metadata["help"]
        flag = isinstance(each.default, bool)
        shown = bool(each.default) and not flag
        made.append(
            click.option(
                name, each.name, default=each.default, is_flag=flag, help=text, show_default=shown
            )
        )
    return tuple(made)


def question_command(question: str, text: str) -> click.Command:
    """The command of a question; `text` is its help, with examples."""

    @click.command(question, help=text)
    @with_options(request_options(question), SETTING, SHOWING)
    def command(**given: Any) -> None:
        from archipel.planning.mistakes import CannotPlan

        with mending(CannotPlan):
            present(asked(question, given), given)

    return command


def asked(question: str, given: dict[str, Any]) -> "Ask":
    """The question that these options put."""
    from archipel.planning.answering import Setting
    from archipel.planning.asking import Ask
    from archipel.planning.tables import read_own

    fields = {each.name for each in options_of(REQUESTS[question])}
    request = REQUESTS[question](**{name: given[name] for name in fields})
    table = given.get("table")
    own = read_own(read_text(table), str(table)) if table else None
    setting = Setting(given["seed"], given["samples"], given["as_of"])
    return Ask(question, request, setting, own, tuple(given["overrides"]))


def present(ask: "Ask", given: dict[str, Any]) -> None:
    """Show the answer in the way that was asked for."""
    if given["explain"]:
        click.echo(explanation(ask, given["explain"]))
        return
    from archipel.planning.answering import for_json

    ending = _ending(given["plot"])
    data = ask.data()
    if given["save"]:
        write(given["save"], json.dumps(for_json(data), indent=2).encode())
    if given["plot"]:
        from archipel.planning.drawing import picture

        write(given["plot"], picture(data, ending))
    from archipel.planning.wording import plan_text

    shown = for_json(data) if given["as_json"] else data
    show(shown, given["as_json"], lambda: plan_text(data, brief=given["brief"]))


def explanation(ask: "Ask", name: str) -> str:
    """The derivation tree of every quantity that `name` fits, at most three."""
    from archipel.planning.answering import find, names
    from archipel.planning.mistakes import nearest
    from archipel.planning.sampling import Draws
    from archipel.planning.wording import explained

    plan = ask.plan()
    found = find(plan, name)
    if not found:
        raise nearest(name, names(plan), "quantity of this plan")
    draws = Draws(ask.setting.seed, ask.setting.samples)
    return "\n\n".join(explained(each, draws) for each in found[:3])


def read_text(path: Path, most: int = 16 * 1024 * 1024) -> str:
    """A file's text.

    Raises:
        Mendable: missing, too large, unreadable or not UTF-8.
    """
    try:
        if path.stat().st_size > most:
            raise Mendable(f"{path}: larger than {most} bytes")
        return path.read_text("utf-8")
    except OSError as error:
        raise Mendable(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Mendable(f"{path}: not UTF-8 text") from None


def write(path: Path, content: bytes) -> None:
    """Write a file that was asked for.

    Raises:
        Mendable: the place cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Mendable(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"wrote {path} ({len(content):,} bytes)", err=True)


def _ending(plot: Path | None) -> str:
    if plot is None:
        return ""
    from archipel.planning.drawing import check_format

    return check_format(plot.name)
