"""How a planner's question becomes a command: options from its request, and five ways to see the answer."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, columns, mending, show
from archipel.cli.grouped import together
from archipel.cli.names import constant_names, members_of
from archipel.planning.requests import REQUESTS, options_of

if TYPE_CHECKING:
    from archipel.planning.asking import Ask
    from archipel.planning.plan import Plan
    from archipel.planning.quantity import Quantity

MOST_READ = 16 * 1024 * 1024
"""Bytes of a table or a saved plan."""
MORE = "--tables shows all of it with names, --explain NAME where one comes from."

SETTING = (
    click.option("--seed", default=0, show_default=True, help="Seed of the sampled worlds."),
    click.option("--samples", default=2000, show_default=True, help="How many worlds to sample."),
    click.option("--as-of", default="", help="Use constants as known then, e.g. 2025-03."),
    click.option(
        "--table", type=click.Path(path_type=Path), help="Your own constants (TOML) on top."
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="NAME=AMOUNT",
        help="Replace one constant.",
        shell_complete=constant_names,
    ),
)
RENTS = (
    click.option(
        "--region",
        default="",
        help="Take the rents of one cloud there: aws-us, lambda, vast ...",
        shell_complete=members_of("region"),
    ),
    click.option("--spot", is_flag=True, help="Rent what may be taken back at any time."),
)
"""For questions that have no words of their own for it."""
SHOWING = (
    click.option("--json", "as_json", is_flag=True, help="Print data for machines."),
    click.option("--plot", type=click.Path(path_type=Path), help="Write a .png or .svg picture."),
    click.option("--explain", metavar="NAME", help="Print how one quantity came about."),
    click.option("--save", type=click.Path(path_type=Path), help="Write the data to a file too."),
    click.option("--tables", is_flag=True, help="Every table, remark and disagreement too."),
    click.option("--brief", is_flag=True, help="Only the answer and what it hinges on."),
)


def request_options(question: str) -> tuple[Any, ...]:
    """One option per field of the question's request."""
    made = []
    for each in options_of(REQUESTS[question]):
        name, text = f"--{each.name.replace('_', '-')}", each.metadata["help"]
        flag = isinstance(each.default, bool)
        shown = bool(each.default) and not flag
        made.append(
            click.option(
                name,
                each.name,
                default=each.default,
                is_flag=flag,
                help=text,
                show_default=shown,
                shell_complete=members_of(each.name),
            )
        )
    return tuple(made)


def question_command(question: str, text: str) -> click.Command:
    """The command of a question; `text` is its help, with examples."""
    own = {each.name for each in options_of(REQUESTS[question])}
    rents = RENTS if "region" not in own else ()

    @click.command(question, help=text)
    @together(*request_options(question), *SETTING, *rents, *SHOWING)
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
    written = {name: given[name] for name in fields}
    if written.get("config"):
        written["config"] = _config(written["config"])
    request = REQUESTS[question](**written)
    table = given.get("table")
    own = read_own(read_text(table), str(table)) if table else None
    rents = () if "region" in fields else (given["region"], given["spot"])
    setting = Setting(given["seed"], given["samples"], given["as_of"], *rents)
    return Ask(question, request, setting, own, tuple(given["overrides"]))


def _config(path: str) -> str:
    """What a model's config.json says of its shape: the option names the file, a saved plan holds this."""
    from archipel.planning.model_config import reduced

    return reduced(read_text(Path(path)), path)


def present(ask: "Ask", given: dict[str, Any]) -> None:
    """Show the answer in the way that was asked for."""
    from archipel.planning.answering import for_json
    from archipel.planning.wording import plan_text

    if given["explain"] is not None:
        _explain(ask, given)
        return
    ending = _ending(given["plot"])
    for place in (given["save"], given["plot"]):
        check_place(place)
    whole = bool(given["as_json"] or given["save"] or given["plot"] or given["tables"])
    data = ask.data(whole=whole)
    if given["save"]:
        write(given["save"], json.dumps(for_json(data), indent=2).encode())
    if given["plot"]:
        from archipel.planning.drawing import picture

        at_work("drawing")
        write(given["plot"], picture(data, ending))
    words = {"tables": given["tables"], "brief": given["brief"], "width": columns()}
    text = plan_text(data, **words) + ("" if given["tables"] else f"\n{MORE}")
    show(for_json(data) if given["as_json"] else data, given["as_json"], lambda: text)


def _explain(ask: "Ask", given: dict[str, Any]) -> None:
    """One quantity's derivation, as a tree or as data."""
    from archipel.planning.mistakes import Conflict

    if given["plot"] or given["save"]:
        raise Conflict("--explain prints a derivation; drop --plot and --save, or drop --explain")
    if given["as_json"]:
        show(derivation(ask, given["explain"]), True, str)
    else:
        click.echo(explanation(ask, given["explain"]))


def derivation(ask: "Ask", name: str) -> dict[str, Any]:
    """The quantities that the first one fitting `name` rests on, itself last."""
    from archipel.planning.answering import for_json
    from archipel.planning.quantity import ancestry

    found = _found(ask, name)[1][0]
    quantities = ask.data()["quantities"]
    names = [each.name for each in ancestry([found]) if each.name in quantities]
    explained: dict[str, Any] = for_json({name: quantities[name] for name in names})
    return explained


def explanation(ask: "Ask", name: str) -> str:
    """The derivation tree of every quantity that `name` fits, at most three."""
    from archipel.planning.explaining import explained
    from archipel.planning.sampling import Draws

    draws = Draws(ask.setting.seed, ask.setting.samples)
    return "\n\n".join(explained(each, draws, columns()) for each in _found(ask, name)[1][:3])


def _found(ask: "Ask", name: str) -> "tuple[Plan, list[Quantity]]":
    """A plan and those of its quantities that `name` fits, at least one."""
    from archipel.planning.answering import find, names
    from archipel.planning.mistakes import nearest

    plan = ask.plan()
    found = find(plan, name.strip()) if name.strip() else []
    if not found:
        raise nearest(name, names(plan), "quantity of this plan")
    return plan, found


def read_text(path: Path, most: int = MOST_READ) -> str:
    """A file's text.

    Raises:
        Mendable: missing, not a file, too large, unreadable or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise Mendable(f"cannot read {path}: not a file")
        with path.open("rb") as opened:
            content = opened.read(most + 1)
    except OSError as error:
        raise Mendable(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # a name with a NUL
        raise Mendable(f"cannot read {str(path)!r}: no file can have this name") from None
    if len(content) > most:
        raise Mendable(f"{path}: larger than {most} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Mendable(f"{path}: not UTF-8 text") from None


def check_place(path: Path | None) -> None:
    """Refuse a place that cannot be written before anything is computed for it.

    Raises:
        Mendable: no such folder, or the name of one.
    """
    if path is not None and (not path.parent.is_dir() or path.is_dir()):
        why = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise Mendable(f"cannot write {path}: {why}")


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
