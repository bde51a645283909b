"""What a local door asks of whatever trains its models: `training.tenants.Tenants`, and nothing of it beside this.

Parts: `State` (one model's adapter, moments and gathered gradient), `Trainer`. Law: what comes of a model's operations hangs on its
state and on them alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from archipel.model.adapter import Adapter
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.operations import Operation, Outcome


class State(Protocol):
    """Of one model."""

    def write(self, folder: Path) -> None:
        """Into a new folder, durably."""

    def adapter(self) -> Adapter:
        """What is sampled with, in bf16 values."""


class Trainer(Protocol):
    """Of one base."""

    def create(self, form: AdapterForm, seed: int) -> State:
        """A state that changes nothing yet."""

    def read(self, folder: Path, form: AdapterForm, *, optimiser: bool) -> State:
        """What `State.write` wrote; without `optimiser`, its weights alone.

        Raises:
            ValueError, OSError: it is not of this form, or cannot be read.
        """

    def run(
        self, turns: Sequence[tuple[State, Sequence[Operation]]], between: Callable[[], None]
    ) -> Sequence[Sequence[Outcome]]:
        """Do each one's operations in their order, all beside one another; `between` is called between two passes."""
