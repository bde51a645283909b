"""A local door's hands from a model directory: base, trainer and thread.

Parts: `open_hands`, `OverBase` (`training.tenants` as the trainer that `hands` asks for).
"""

from collections.abc import Sequence
from pathlib import Path

from archipel.door.hands import CannotDo
from archipel.door.local.fitting import Limits
from archipel.door.local.hands import LocalHands, served_as
from archipel.door.local.loading import load_base
from archipel.model.manifest import WrongTensors
from archipel.model.network import Decoder
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.operations import Operation
from archipel.training.tenants.state import TenantState
from archipel.training.tenants.tenants import Going, Tenants, TenantTurn


class OverBase:
    """See `trainer.Trainer`."""

    def __init__(self, decoder: Decoder) -> None:
        """decoder: taken over.

        Raises:
            CannotDo: no models can be trained over this base.
        """
        try:
            self._tenants = Tenants(decoder)
        except WrongTensors as error:
            raise CannotDo(str(error)) from None

    def create(self, form: AdapterForm, seed: int) -> TenantState:
        """See `Trainer`."""
        return self._tenants.create(form, seed)

    def read(self, folder: Path, form: AdapterForm, *, optimiser: bool) -> TenantState:
        """See `Trainer`."""
        return TenantState.read(folder, form, self._tenants.config, optimiser=optimiser)

    def begin(self, state: TenantState, operations: Sequence[Operation]) -> Going:
        """See `Trainer`."""
        return self._tenants.begin(TenantTurn(state, tuple(operations)))

    def ready(self, going: Going) -> int:
        """See `Trainer`."""
        return self._tenants.ready(going)

    def advance(self, chosen: Sequence[Going]) -> None:
        """See `Trainer`."""
        self._tenants.advance(chosen)


def open_hands(
    folder: Path, names: Sequence[str], limits: Limits, tokenizer_id: str | None = None
) -> LocalHands:
    """Load the model in a directory and begin to work.

    names: what clients call it, the first its own; tokenizer_id: where they find its tokenizer, by default under that.

    Raises:
        CannotDo: it is no model of ours, or does not fit.
    """
    base = load_base(folder, limits)
    served = served_as(base, names, tokenizer_id or names[0])
    return LocalHands(base, OverBase(base.decoder), served, limits)
