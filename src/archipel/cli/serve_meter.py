"""`archipel serve --meter`: what is asked of a served model, counted into signed receipts in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, mending
from archipel.records.receipts import MAX_PRICE

if TYPE_CHECKING:
    from archipel.serve.access import Access
    from archipel.serve.metering import Metering
    from archipel.serve.served import Served

DIGEST_S = 3600.0
"""For reading all of a model's weights."""
LOST = "the server before was cut off: what it had answered since its last receipt is in none, and the next receipt says so"


@dataclass(frozen=True)
class Meter:
    """Where what is asked is counted, and how."""

    folder: Path | None
    """None: nothing is."""
    price_micro: int
    window_s: float | None

    def check(self, beside: dict[str, Path]) -> None:
        """Raises click.UsageError: no --meter where something says how to count, or one beside --adapter."""
        if self.folder is None and (self.price_micro or self.window_s is not None):
            raise click.UsageError("--price and --window say how to count; give --meter DIR too")
        if self.price_micro > MAX_PRICE:
            raise click.UsageError(
                f"--price is at most {MAX_PRICE // 10**6} credits, for a million tokens"
            )
        if self.folder is not None and beside:
            raise click.UsageError(
                "a meter counts for one model: serve an adapter by itself, archipel serve ADAPTER --base MODEL --meter DIR"
            )


def metered(
    served: "dict[str, Served]", meter: Meter, access: "Access"
) -> "tuple[dict[str, Served], Metering | None, str]":
    """The one model that is served, who counts for it, and what is said of that.

    Raises:
        Mendable: nothing can be counted in that folder.
    """
    import asyncio
    from dataclasses import replace

    from archipel.cli.keys import load_or_make_key
    from archipel.serve.meter_file import KEY, BadMeter
    from archipel.serve.metering import WINDOW_S, Metering, Rate, callers_of

    folder = meter.folder
    if folder is None:
        return served, None, ""
    ((name, one),) = served.items()
    weights = "" if one.weights is None else asyncio.run(one.weights.get(DIGEST_S))
    if not weights:
        raise Mendable(f"the weights of {name} cannot be read again, and a receipt names them")
    with mending(OSError, BadMeter):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = load_or_make_key(folder / KEY)
        metering = Metering(
            folder,
            identity,
            Rate(weights, meter.price_micro, meter.window_s or WINDOW_S),
            callers_of(identity, access),
            say=lambda text: click.echo(text, err=True),
        )
    if metering.is_after_break:
        click.echo(LOST, err=True)
    said = f", counted in {folder} by {identity.did}"
    return {name: replace(one, meter=metering)}, metering, said
