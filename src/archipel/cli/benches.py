"""What the commands of `archipel bench` share: options, a folder of their own, lines that say how far they are."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from archipel.cli.names import recipe_names
from archipel.cli.outputs import PICTURE

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

RECIPE = click.option(
    "--recipe",
    "recipe_name",
    default="secret-order",
    show_default=True,
    shell_complete=recipe_names,
    help="Recipe file or shipped name.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For machines: every arm.")
PNG = click.option("--png", type=PICTURE, help="Draw the curves here.")


def seeds_option(default: str) -> Option:
    """How many seeds; `default` says how many otherwise."""
    return click.option("--seeds", type=click.IntRange(1, 11), help=f"Seeds [{default}].")


def quick_option(text: str) -> Option:
    """A smaller plan."""
    return click.option("--quick", is_flag=True, help=text)


def out_option(kind: str) -> Option:
    """Where everything goes that the measurement leaves behind."""
    return click.option(
        "--out", type=click.Path(path_type=Path), help=f"Folder [runs/{kind}-TIME]."
    )


def out_folder(out: Path | None, kind: str) -> Path:
    """The folder asked for, or a new one of this minute."""
    return out or Path("runs") / time.strftime(f"{kind}-%Y%m%d-%H%M%S")


@contextmanager
def whatever_ends(
    folder: Path, tell: Callable[[str], None], finish: Callable[[], None]
) -> Iterator[None]:
    """A measurement that keeps its steps: whatever ends it, `finish` prints what it has, and how it goes on is said."""
    from archipel.bench.endings import in_order

    with in_order():
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            tell(f"stopped; the same command with --out {folder} goes on")
            raise
        finally:
            finish()


def teller() -> Callable[[str], None]:
    """Says a line with the seconds since this was called, beside the results."""
    began = time.monotonic()
    return lambda text: click.echo(f"{time.monotonic() - began:6.0f}s  {text}", err=True)


def chosen(plan: Any, given: dict[str, Any], *names: str) -> dict[str, Any]:
    """For `dataclasses.replace`: what was given of these fields, else the plan's own; seeds as a range."""
    values = {
        name: getattr(plan, name) if given[name] in (None, ()) else given[name] for name in names
    }
    if given.get("seeds"):
        values["seeds"] = tuple(range(given["seeds"]))
    return values
