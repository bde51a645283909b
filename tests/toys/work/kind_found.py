"""Found work: the run's model directory as a version."""

import torch
from archipel.records.kinds.found import FoundSpec

from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.versions import encode_anchor
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    has_nothing_to_end,
    remembers_nothing,
)


def make(choice: EngineChoice) -> Kind:
    return Kind(run=found, remembers=remembers_nothing, close=has_nothing_to_end, shared=False)


def found(spec: FoundSpec, context: Context, progress: Progress) -> Answer:
    parameters = read_model(context.model, torch.bfloat16).named_parameters()
    state = {name: tensor.detach() for name, tensor in parameters}
    manifest = describe(state, 0, None)
    files = {"manifest": manifest.to_bytes(), "anchor": encode_anchor(state)}
    for role, data in files.items():
        (context.scratch / role).write_bytes(data)
    return Answer({role: context.scratch / role for role in files}, {"policy": manifest.state})
