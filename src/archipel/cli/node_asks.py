"""What `node join` takes about prices: nothing need be said, and on a terminal one question is asked once."""

import math
import re
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending
from archipel.cli.grouped import together

if TYPE_CHECKING:
    from archipel.node.asks import Asking

FILE = "energy.json"
QUESTION_LIMIT_S = 30.0
"""After that it goes on with the default, and asks again at the next start."""
TRIES = 3
MAX_USD_PER_KWH = 100.0
MAX_ANSWER_BYTES = 256
MICRO = 10**6
REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Region(click.ParamType):
    """Where a machine stands."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Small letters, digits and hyphens."""
        if not isinstance(value, str) or not REGION.fullmatch(value):
            self.fail(
                f"{value!r:.60}: expected up to 32 small letters, digits and -, such as eu-north",
                param,
                ctx,
            )
        return value


class Amount(click.FloatRange):
    """A number within bounds; what is no number is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Within the bounds."""
        amount = super().convert(value, param, ctx)
        if math.isnan(amount):
            self.fail(f"{value!r:.40} is not a number", param, ctx)
        return amount


asking_options = together(
    click.option(
        "--energy-price",
        type=Amount(0, MAX_USD_PER_KWH),
        metavar="USD",
        help="What a kWh costs here [asked once on a terminal; else 0.313, households of the European Union].",
    ),
    click.option(
        "--watts",
        type=click.IntRange(1, 1_000_000),
        help="What this machine draws at work [as it tells itself, else 20 and 10 for each thread].",
    ),
    click.option(
        "--wear",
        type=Amount(0, MAX_USD_PER_KWH),
        default=0.1,
        show_default=True,
        metavar="USD",
        help="What the machine loses by working, for each kWh that it draws.",
    ),
    click.option(
        "--credit-usd",
        type=Amount(1e-6, 1e6),
        default=1.0,
        show_default=True,
        metavar="USD",
        help="What a credit is worth to you.",
    ),
    click.option(
        "--ask",
        type=Amount(1e-6, 1e6),
        metavar="CREDITS",
        help="Ask so much for a million tokens, in runs whose work is traded [what they cost: energy and wear].",
    ),
    click.option(
        "--lots",
        type=click.IntRange(1, 4096),
        help="Lots to offer [what its speed can deliver].",
    ),
    click.option(
        "--region",
        type=Region(),
        default="unknown",
        show_default=True,
        help="Where this machine stands, such as eu-north; published, and nobody proves it.",
    ),
    click.option("--no-bid", is_flag=True, help="Ask nothing; work only where no bid is needed."),
)
"""What a command takes about prices."""


def asking_of(given: dict[str, Any], home: Path, may_ask: bool) -> "Asking":
    """How the node asks. may_ask: whether somebody is there to answer a question.

    Raises:
        Mendable: an answer that is no price, again and again, or a file that cannot be read or written.
    """
    from archipel.market.asks import HOUSEHOLD_USD_PER_KWH
    from archipel.node.asks import Asking
    from archipel.node.small_files import Unreadable

    usd = given["energy_price"]
    if usd is None and not given["no_bid"]:
        with mending(OSError, Unreadable):
            usd = _kept(home)
            if usd is None and may_ask and (usd := _asked()) is not None:
                _keep(home, usd)
    credit = given["credit_usd"]
    return Asking(
        bids=not given["no_bid"],
        micro=None if given["ask"] is None else max(_micro(given["ask"]), 1),
        lots=given["lots"],
        region=given["region"],
        watts=given["watts"],
        micro_per_kwh=_micro((HOUSEHOLD_USD_PER_KWH if usd is None else usd) / credit),
        wear_micro_per_kwh=_micro(given["wear"] / credit),
        says_energy=usd is not None,
    )


def is_somebody_there(quiet: bool) -> bool:
    """Whether a question would be seen and could be answered."""
    streams = (sys.stdin, sys.stderr)
    return not quiet and all(each is not None and each.isatty() for each in streams)


def _asked() -> float | None:
    """The price that somebody types; None: nobody did in time.

    Raises:
        Mendable: what was typed is no price.
    """
    from archipel.market.asks import HOUSEHOLD_USD_PER_KWH

    click.echo(
        f"What does a kWh of electricity cost here, in USD? Enter for {HOUSEHOLD_USD_PER_KWH} (households of the"
        f" European Union); this is asked once, and goes on by itself in {QUESTION_LIMIT_S:.0f} s.",
        err=True,
    )
    until_s = time.monotonic() + QUESTION_LIMIT_S
    for _ in range(TRIES):
        click.echo("USD per kWh: ", nl=False, err=True)
        left_s = max(until_s - time.monotonic(), 0.0)
        if not select.select([sys.stdin], [], [], left_s)[0]:
            click.echo("", err=True)
            return None
        typed = sys.stdin.readline(MAX_ANSWER_BYTES).strip().replace(",", ".")
        if not typed:
            return HOUSEHOLD_USD_PER_KWH
        usd = _number(typed)
        if usd is not None:
            return usd
        click.echo(f"{typed!r:.40}: expected 0 to {MAX_USD_PER_KWH:.0f}, such as 0.28", err=True)
    raise Mendable("no price of energy was understood; say it by --energy-price USD")


def _number(typed: str) -> float | None:
    try:
        usd = float(typed.lstrip("$"))
    except ValueError:
        return None
    return usd if 0 <= usd <= MAX_USD_PER_KWH else None


def _kept(home: Path) -> float | None:
    """What was answered at an earlier start. Raises Unreadable, OSError."""
    from archipel.node.small_files import Unreadable, read_json

    found = read_json(home / FILE)
    if found is None:
        return None
    micro = found.get("usd_micro_per_kwh")
    if type(micro) is not int or not 0 <= micro <= MAX_USD_PER_KWH * MICRO:
        raise Unreadable(f"{home / FILE} says no price of energy; remove it")
    return micro / MICRO


def _keep(home: Path, usd: float) -> None:
    """Raises OSError."""
    from archipel.node.small_files import write_json

    write_json(home / FILE, {"usd_micro_per_kwh": _micro(usd)})


def _micro(amount: float) -> int:
    return min(round(amount * MICRO), 10**12)
