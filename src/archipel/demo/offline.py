"""The package's own command in a process without a network and without a tensor library: how the demo shows that a release
is checked so. `python -m archipel.demo.offline release verify DIR`.

Laws: the process leaves the network where the system lets it (Linux); in any case sockets, other programs and tensor
libraries are refused by an audit hook, which nothing in a process takes away again (PEP 578).
"""

import os
import runpy
import sys
from typing import Final

from archipel.work.sandbox.offline import StillOnline, go_offline

PROGRAM: Final = ("-m", "archipel.demo.offline")
"""In words for Python."""
COMMAND: Final = "archipel.cli.archipel"
TENSORS: Final = frozenset({"torch", "transformers", "safetensors"})
_OUT: Final = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
"""Audit events of whatever leads out of the process."""


class Refused(RuntimeError):
    """Something asked for a way out."""


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """The hook.

    Raises:
        Refused: a socket or another program.
        ImportError: a tensor library.
    """
    if event.startswith(_OUT):
        raise Refused(f"{event} in a process that is to do without a network and other programs")
    if event == "import" and str(arguments[0]).partition(".")[0] in TENSORS:
        raise ImportError(f"{arguments[0]} in a process that is to do without")


def close() -> str:
    """From here on there is no way out of this process; returns what was given up, in words."""
    try:
        found = go_offline()
        said = f"in {found.namespace}, whose only interface is down; sockets and tensor libraries are refused"
    except (StillOnline, OSError) as error:
        said = f"still in its network ({error}); sockets and tensor libraries are refused"
    if loaded := TENSORS & sys.modules.keys():
        raise Refused(f"{', '.join(sorted(loaded))} was loaded before")
    sys.addaudithook(refuse)
    return said


if __name__ == "__main__":
    sys.stderr.write(f"process {os.getpid()}: {close()}\n")
    runpy.run_module(COMMAND, run_name="__main__")
