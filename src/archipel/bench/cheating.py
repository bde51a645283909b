"""A node that cheats, as a process: `python -m archipel.bench.cheating CHEAT SHARE node join URL ...`.

It is the package's own node, but for its work process (`cheating_child`), which samples by `CHEAT` (of
`bench.cheats`) in `SHARE` of its answers and signs all of them as honest. Nothing else starts it: no command and no
option of a real node leads here.
"""

import hashlib
import runpy
import sys
from collections.abc import Sequence

PROGRAM = ("-m", "archipel.bench.cheating")
"""In words for Python; then come the cheat and its share."""
CHILD = ("-m", "archipel.bench.cheating_child")
COMMAND = "archipel.cli.archipel"


def is_forged(group: int, share: float) -> bool:
    """Whether a node that cheats in this share of its answers does so in the one that begins with `group`.

    Anybody can tell afterwards, from the ledger, which of its answers were forged.
    """
    drawn = int.from_bytes(hashlib.sha256(f"forged {group}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def join(way: Sequence[str], words: Sequence[str]) -> None:
    """The package's command, with a work process that cheats in this way."""
    from archipel.node import worker

    worker.program = lambda ranks, setup: [*CHILD, *way]  # type: ignore[attr-defined]  # a name of its own imports
    sys.argv = [sys.argv[0], *words]
    runpy.run_module(COMMAND, run_name="__main__")


if __name__ == "__main__":
    join(sys.argv[1:3], sys.argv[3:])
