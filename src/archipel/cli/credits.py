"""Credits and dollars on a command line: decimal numbers that become integers, never through a float."""

from typing import Any

import click

from archipel.market.amounts import BadAmount, dollars, micro_of, written


class Amount(click.ParamType):
    """A decimal number with at most six places, in millionths."""

    name = "amount"

    def __init__(self, least_micro: int = 1) -> None:
        self._least = least_micro

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The millionths."""
        from archipel.records.stakes import MAX_MOVED_MICRO

        if isinstance(value, int):
            return value
        try:
            micro = micro_of(str(value))
        except BadAmount as error:
            self.fail(str(error), param, ctx)
        if not self._least <= micro <= MAX_MOVED_MICRO:
            least, most = written(self._least), written(MAX_MOVED_MICRO)
            self.fail(f"got {value}, expected {least} to {most}", param, ctx)
        return micro


RATE = click.option(
    "--rate", "rate_micro", type=Amount(), metavar="USD", help="Dollars for a credit [as last said in the ledger]."
)  # fmt: skip


def credits_words(micro: int, rate_micro: int | None = None) -> str:
    """An amount for people, in dollars as well where a rate is known."""
    text = f"{written(micro)} credits"
    return (
        text if rate_micro is None else f"{text} ({written(dollars(micro, rate_micro))[:-4]} USD)"
    )
