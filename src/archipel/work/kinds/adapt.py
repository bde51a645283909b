"""Adapt work: do a tenant's operations on its adapter over the run's model, and answer the state after them."""

import hashlib
from itertools import count
from pathlib import Path

import torch

from archipel.model.config import InvalidConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_model
from archipel.model.manifest import WrongTensors
from archipel.records.kinds.adapt import MAX_MACHINE, AdaptSpec
from archipel.records.payload import BadPayload
from archipel.records.programmes.door import DoorPace
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.inner.state import machine_class
from archipel.training.tenants.operations import Operation
from archipel.training.tenants.parcels import num_tokens_of, pack_outcomes, unpack_operations
from archipel.training.tenants.state import FILES, TenantState
from archipel.training.tenants.tenants import PASS_TOKENS, Tenants, TenantTurn
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    WorkFailed,
    has_nothing_to_end,
    remembers_nothing,
)
from archipel.work.packed import BadFolder, pack_folder, unpack_folder
from archipel.work.recent import Recent
from archipel.work.resident import frozen

CPU = torch.device("cpu")
STATES_HELD = 4
"""Of the tenants worked for lately: whoever's next turn comes here needs no file."""


def make(choice: EngineChoice) -> Kind:
    """A fresh one; it samples nothing, and trains on the processor."""
    return Kind(
        run=Adapts(choice).run,
        remembers=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


class Adapts:
    """Keeps the base of the run worked in last, and the states that it made lately."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._tenants: Recent[Path, Tenants] = Recent(limit=1)
        self._states: Recent[str, TenantState] = Recent(limit=STATES_HELD)
        """Digest of the packed state -> what it is."""

    def run(self, spec: AdaptSpec, context: Context, progress: Progress) -> Answer:
        """Answer: files `state`, `outcomes`; values `num_tokens`, `machine`.

        1 the operations  2 the state before  3 the outcomes, and the state after
        """
        # 1
        operations = self._operations(spec, context)
        # 2
        tenants = self._resident(context)
        state = self._state(spec, context, tenants)
        self._require_rank(state, context)
        # 3
        passes = count(1)
        turn = TenantTurn(state, operations)
        (outcomes,) = tenants.run([turn], lambda: progress(next(passes) * PASS_TOKENS))
        path = context.scratch / "outcomes"
        path.write_bytes(pack_outcomes(outcomes))
        state.write(context.scratch / "after")
        packed = context.scratch / "state"
        pack_folder(context.scratch / "after", packed)
        self._states.put(_digest(packed), state)
        values = {"num_tokens": spec.num_tokens, "machine": machine_class(CPU)[:MAX_MACHINE]}
        return Answer({"state": packed, "outcomes": path}, values)

    def _operations(self, spec: AdaptSpec, context: Context) -> tuple[Operation, ...]:
        """Raises WorkFailed: they are none, or not those that the door counted."""
        try:
            data = context.blobs[spec.operations.digest].read_bytes()
            operations = unpack_operations(data)
        except BadPayload as error:
            raise WorkFailed(f"operations of {context.work}: {error}") from None
        num_tokens = num_tokens_of(operations)
        if num_tokens != spec.num_tokens:
            raise WorkFailed(
                f"operations of {context.work} have {num_tokens} tokens; the question says {spec.num_tokens}"
            )
        return operations

    def _resident(self, context: Context) -> Tenants:
        """Raises WorkFailed: the run's model cannot be trained over."""
        tenants = self._tenants.get(context.model)
        if tenants is not None:
            return tenants
        self._tenants.make_room(context.model)
        try:
            tenants = Tenants(frozen(read_model(context.model)))
        except (InvalidModel, InvalidConfig) as error:
            raise WorkFailed(f"the model of {context.run} cannot be used: {error}") from None
        self._tenants.put(context.model, tenants)
        return tenants

    def _state(self, spec: AdaptSpec, context: Context, tenants: Tenants) -> TenantState:
        """Before the operations; from now on it is this work's own.

        Raises:
            WorkFailed: it is none, or does not fit the run's model.
        """
        try:
            if spec.begins is not None:
                return tenants.create(spec.begins.form, spec.begins.seed)
            if spec.state is None:
                raise TypeError("a spec starts somewhere")
            held = self._states.take(spec.state.digest)
            if held is not None:
                return held
            folder = context.scratch / "before"
            unpack_folder(context.blobs[spec.state.digest], frozenset(FILES), folder)
            return TenantState.read(folder, None, tenants.config)
        except (BadFolder, BadCheckpoint, WrongTensors) as error:
            raise WorkFailed(f"the state before {context.work}: {error}") from None

    def _require_rank(self, state: TenantState, context: Context) -> None:
        """Raises WorkFailed: it is larger than the run takes."""
        rank, most = state.layout.form.rank, context.pace_as(DoorPace).rank
        if rank > most:
            raise WorkFailed(
                f"the state before {context.work} is of rank {rank}; {context.run} takes {most}"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
