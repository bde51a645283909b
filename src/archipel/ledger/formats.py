"""Formats of a stored log: which one is written, and the steps that lead to it from older ones.

A step is a script in the storage's SQL that turns format n into n + 1, run in one transaction with
the change of the number, by a writer. Law: entries, leaf hashes and heads keep their bytes.
"""

from collections.abc import Mapping

from archipel.ledger.storage import LedgerUnavailable

FORMAT = 1
SQLITE_STEPS: Mapping[int, str] = {}
"""Format -> script to the next; format 1 is the first."""
POSTGRES_STEPS: Mapping[int, str] = {}


def steps_from(found: int, steps: Mapping[int, str], *, writable: bool) -> list[tuple[int, str]]:
    """The formats still to come and their scripts, in order; none when `found` is the newest.

    Raises:
        LedgerUnavailable: no way leads from `found` to FORMAT, or only a writer may go it.
    """
    missing = [number for number in range(found, FORMAT) if number not in steps]
    if found > FORMAT or found < 1 or missing:
        raise LedgerUnavailable(
            f"it holds a ledger of format {found}; expected {FORMAT}; use the matching release"
        )
    if found < FORMAT and not writable:
        raise LedgerUnavailable(
            f"it holds a ledger of format {found}; its lab has to start once to bring it to {FORMAT}"
        )
    return [(number + 1, steps[number]) for number in range(found, FORMAT)]
