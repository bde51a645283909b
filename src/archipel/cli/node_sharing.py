"""What every command that offers this machine takes about blobs: where they are asked for, and to whom they are passed on.

`sharing_options` puts them on a command, `sharing_of` makes of them what `NodeSettings` says.
"""

from typing import Any

import click

from archipel.cli.grouped import together
from archipel.cli.lab_door import MIRRORS


class Place(click.ParamType):
    """Where to listen."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Read."""
        from archipel.node.addresses import BadPlace, place_of

        try:
            return value if isinstance(value, tuple) else place_of(value)
        except BadPlace as error:
            self.fail(str(error), param, ctx)


sharing_options = together(
    click.option(
        "--serve-blobs",
        is_flag=False,
        flag_value="127.0.0.1:0",
        type=Place(),
        metavar="[HOST:PORT]",
        help="Pass published versions on to other nodes from here, at HOST:PORT; alone, to this machine's own nodes "
        "[this node only dials out].",
    ),
    MIRRORS,
    click.option(
        "--serve-mbit",
        default=20.0,
        show_default=True,
        type=click.FloatRange(0.1, 1_000_000),
        help="Megabits a second that all of them get together.",
    ),
)


def sharing_of(given: dict[str, Any]) -> dict[str, Any]:
    """What `NodeSettings` says of it, taken out of a command's options."""
    return {
        "serve_blobs": given.pop("serve_blobs"),
        "mirrors": given.pop("mirrors"),
        "serve_rate": int(given.pop("serve_mbit") * 125_000),
    }
