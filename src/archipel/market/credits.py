"""Credits: a double-entry book in integer micro-credits.

Every posting moves an amount from one account to another, so the balances always add up to zero;
a sponsor's negative balance is what the run has cost so far.
"""

from collections.abc import Mapping


def transfer(balances: Mapping[str, int], payer: str, payee: str, micro: int) -> dict[str, int]:
    """New balances after `payer` gave `payee` `micro` micro-credits.

    Raises:
        ValueError: a negative amount; a payment is never taken back by paying less than nothing.
    """
    if micro < 0:
        raise ValueError(f"amount is {micro} micro-credits; a transfer moves 0 or more")
    moved = dict(balances)
    moved[payer] = moved.get(payer, 0) - micro
    moved[payee] = moved.get(payee, 0) + micro
    return moved
