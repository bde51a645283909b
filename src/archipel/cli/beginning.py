"""How a lab's process begins: where it logs, and that it ends in order."""

from pathlib import Path

from archipel.cli.doors import mending
from archipel.cli.logs import log_to


def begin(log_file: Path | None) -> None:
    """Log there from now on, and end in order."""
    with mending(OSError):
        log_to(log_file)
    _end_in_order()


def _end_in_order() -> None:
    """Being told to end unwinds the stack, so that the ledger gets closed.

    The server takes these signals for itself, ends, puts the handlers back that it found and raises
    the signal again: by default the process would then end at once.
    """
    import signal
    import sys
    from types import FrameType

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, hang_up)
