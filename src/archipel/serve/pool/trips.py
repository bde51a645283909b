"""What is sent through a device, and what has been: `Trip`, `TextPart`, `Traffic`."""

from dataclasses import dataclass

from archipel.engine.passing import Pass
from archipel.serve.pool.weights import Layers


@dataclass
class Traffic:
    """What went over one link with rows."""

    passes: int = 0
    rows: int = 0
    bytes_out: int = 0
    bytes_in: int = 0

    def clear(self) -> None:
        """Count from here on."""
        self.passes = self.rows = self.bytes_out = self.bytes_in = 0


@dataclass(frozen=True)
class Trip:
    """One way of rows through a device."""

    what: Pass
    ranges: tuple[Layers, ...]
    num_wanted: int
    """Rows that come back; 0: only that it is done."""
    only: tuple[int, ...] | None = None
    """The rows of a `Next` that mean something; no others are sent, or come back with numbers of their own."""
    is_fed: bool = False
    """See `messages.Through`."""


@dataclass(frozen=True)
class TextPart:
    """The next part of a text that is read without sampling, on its way through a device."""

    text: int
    """Which one."""
    start: int
    total: int
    ranges: tuple[Layers, ...]
