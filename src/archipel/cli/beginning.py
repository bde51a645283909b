"""How a lab's process begins: where it logs, that it ends in order, and when at the latest."""

from collections.abc import Callable
from pathlib import Path

from archipel.cli.doors import mending
from archipel.cli.last_deadline import LAB_S, last_deadline
from archipel.cli.logs import log_to


def begin(log_file: Path | None) -> Callable[[], None]:
    """Log there from now on, and end in order; what to call as soon as the end begins."""
    with mending(OSError):
        log_to(log_file)
    when_told = last_deadline(LAB_S)
    _end_in_order(when_told)
    return when_told


def _end_in_order(when_told: Callable[[], None]) -> None:
    """Being told to end unwinds the stack, so that the ledger gets closed.

    The server takes these signals for itself, ends, puts the handlers back that it found and raises
    the signal again: by default the process would then end at once.
    """
    import signal
    import sys
    from types import FrameType

    def end(number: int, frame: FrameType | None) -> None:
        when_told()
        sys.exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, hang_up)
