"""What a local door asks of whatever trains its models: `training.tenants.Tenants`, and nothing of it beside this.

Parts: `State` (one model's adapter, moments and gathered gradient), `Going` (a turn under way), `Trainer`. Law: what comes of a model's
operations hangs on its state and on them alone, whatever passes beside them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from archipel.model.adapter import Adapter
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.operations import Operation, Outcome


class State(Protocol):
    """Of one model."""

    def write(self, folder: Path) -> None:
        """Into a folder, durably."""

    def adapter(self) -> Adapter:
        """What is sampled with, in bf16 values."""


class Going(Protocol):
    """A turn under way."""

    outcomes: list[Outcome]
    """So far."""


class Trainer(Protocol):
    """Of one base. Its turns are for one thread; states are made, read and written by any."""

    def create(self, form: AdapterForm, seed: int) -> Any:
        """A `State` that changes nothing yet."""

    def read(self, folder: Path, form: AdapterForm, *, optimiser: bool) -> Any:
        """What `State.write` wrote; without `optimiser`, its weights alone.

        Raises:
            ValueError, OSError: it is not of this form, or cannot be read.
        """

    def begin(self, state: Any, operations: Sequence[Operation]) -> Any:
        """A `Going` of which nothing is done yet."""

    def ready(self, going: Any) -> int:
        """Do what needs no pass; how many rows its next piece has in one. 0: all is done."""

    def advance(self, chosen: Sequence[Any]) -> None:
        """One pass of the next piece of each of these, which are ready."""
