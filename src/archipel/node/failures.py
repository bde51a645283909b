"""How often the child failed in a row, and when that is this machine's own fault.

Law: one bad run never ends a node that can do another; a machine on which nothing works ends with a sentence.
"""

from pathlib import Path

from archipel.node.patience import NodeFailed

MAX_IN_A_ROW = 5
"""A child that fails this often will not get better by itself."""


class Failures:
    """Failures of one agent's children."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._able: set[str] = set()
        self.in_a_row = 0

    def succeeded(self, run: str) -> None:
        """Work of `run` was done."""
        self.in_a_row = 0
        self._able.add(run)

    def failed(self, reason: str, run: str | None = None) -> None:
        """The child failed at work of `run`, or before it had any.

        Raises:
            NodeFailed: so it did too often, and never did work of another run.
        """
        self.in_a_row += 1
        is_able = run is not None and bool(self._able - {run})
        if self.in_a_row >= MAX_IN_A_ROW and not is_able:
            raise NodeFailed(
                f"work failed {self.in_a_row} times in a row on this machine ({reason}); "
                f"see {self._log}"
            )
