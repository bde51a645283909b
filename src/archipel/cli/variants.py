"""The option `--exact [VARIANT]`, without loading what computes by it."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

VARIANTS = ("w7a8", "w12a13", "w7a15", "w13a15")
"""As `records.exact.CONTRACTS` has them."""
F = TypeVar("F", bound=Callable[..., Any])


def exact_option(said: str, default: str) -> Callable[[F], F]:
    """Argument `variant` of a command; `default` is what the option means without a value."""
    return click.option(
        "--exact",
        "variant",
        is_flag=False,
        flag_value=default,
        metavar="[VARIANT]",
        type=click.Choice(VARIANTS),
        help=f"{said} by the exact contract: {', '.join(VARIANTS)} [{default}].",
    )
