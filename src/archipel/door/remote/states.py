"""What a door does itself with a tenant's state that nodes made: an adapter of it, or its weights alone.

Parts: `STATE_FILES`, `publish_state`, `without_moments`. Law: a state is a node's, so its files are read within bounds and refused
with a sentence; the tensor library is loaded only when somebody asks.
"""

import os
from pathlib import Path

from archipel.door.hands import CannotDo, HandsLost
from archipel.records.adapter import AdapterForm

STATE_FILES = frozenset({"state.safetensors"})
"""Of `training.tenants.state`."""


def publish_state(
    state: Path, form: AdapterForm, model: Path, folder: Path, base_name: str
) -> None:
    """Write the adapter of a state as a PEFT folder, durably.

    model: a directory with the base's configuration.

    Raises:
        HandsLost: the state that a node made is none.
    """
    from archipel.model.adapter_files import write_adapter
    from archipel.model.config_files import InvalidModel, read_config
    from archipel.model.manifest import WrongTensors
    from archipel.training.checkpoint import BadCheckpoint
    from archipel.training.tenants.state import TenantState

    try:
        held = TenantState.read(state, form, read_config(model))
    except (InvalidModel, BadCheckpoint, WrongTensors, OSError) as error:
        raise HandsLost(f"the state that a node made cannot be read: {error}") from None
    write_adapter(folder, held.adapter(), None, base_name)
    for path in (*folder.iterdir(), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def without_moments(kept: Path, form: AdapterForm, model: Path, folder: Path) -> None:
    """Write the weights of what was kept, as a state that was never stepped.

    Raises:
        CannotDo: what was kept is not of this form, or cannot be read.
    """
    from archipel.model.config_files import InvalidModel, read_config
    from archipel.model.manifest import WrongTensors
    from archipel.training.checkpoint import BadCheckpoint
    from archipel.training.tenants.state import TenantState

    try:
        held = TenantState.read(kept, form, read_config(model), optimiser=False)
    except (InvalidModel, BadCheckpoint, WrongTensors, OSError) as error:
        raise CannotDo(f"what was kept cannot be read: {error}") from None
    held.write(folder)
