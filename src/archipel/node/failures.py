"""Why a lease brought nothing, and when that is this machine's own fault.

Parts: `WorkFailure`, which every such error is; `Failures`, how many in a row.
Law: what others ask for never ends a node: it gives the work back, says why, and waits, longer each time
the same run fails, so that one bad run costs the others little. A machine whose work process cannot
even start ends with a sentence.
"""

from pathlib import Path
from typing import ClassVar

from archipel.node.patience import NodeFailed
from archipel.plurals import counted
from archipel.records.fields import Fault

MAX_IN_A_ROW = 5
"""A work process that fails to start this often will not get better by itself."""
MAX_RUNS = 1000
"""Remembered; a lab may open runs without end."""


class WorkFailure(Exception):
    """The lease at hand brings nothing; the message says why."""

    outcome: ClassVar[str] = "returned"
    """How the lease is counted."""
    fault: Fault | None = "work"
    """What the lab is told; None: nobody's, as long as a disk is full."""


class Failures:
    """Failures of one agent's work."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._of: dict[str | None, int] = {}
        """Run -> its failures in a row; None -> those of a child that had no work yet."""
        self.in_a_row = 0
        """Of the run that failed last, up to MAX_IN_A_ROW: the lab keeps work away that goes on to fail, and
        waits in between are taken from healthy runs."""

    def succeeded(self, run: str) -> None:
        """Work of `run` was done."""
        self._of.pop(run, None)
        self._of.pop(None, None)
        self.in_a_row = 0

    def failed(self, reason: str, run: str | None = None) -> None:
        """Work of `run` failed, or the child did before it had any.

        Raises:
            NodeFailed: the child failed without work, time after time.
        """
        if run is not None:
            self._of.pop(None, None)  # a child that had work did start
        self.in_a_row = min(self._of.pop(run, 0) + 1, MAX_IN_A_ROW)
        self._of[run] = self.in_a_row
        for oldest in list(self._of)[:-MAX_RUNS]:
            del self._of[oldest]
        if run is None and self.in_a_row >= MAX_IN_A_ROW:
            raise NodeFailed(
                f"the work process failed to start {counted(self.in_a_row, 'time')} in a row on this machine "
                f"({reason}); see {self._log}"
            )
