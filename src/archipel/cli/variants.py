"""The option `--exact [VARIANT]`, without loading what computes by it."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

VARIANTS = ("w7a8", "w12a13", "w7a15", "w13a15")
"""As `records.exact.CONTRACTS` has them."""
F = TypeVar("F", bound=Callable[..., Any])


CHOSEN = "chosen"
"""Instead of a variant: what the recipe names, or what was measured for the weights (`exact.json`)."""


def exact_option(said: str, default: str) -> Callable[[F], F]:
    """Argument `variant` of a command; `default` is what the option means without a value.

    With `CHOSEN` as the default, the command looks for what was chosen.
    """
    choices = (*VARIANTS, *((CHOSEN,) if default == CHOSEN else ()))
    return click.option(
        "--exact",
        "variant",
        is_flag=False,
        flag_value=default,
        metavar="[VARIANT]",
        type=click.Choice(choices),
        help=f"{said} by the exact contract: {', '.join(choices)} [{default}].",
    )
