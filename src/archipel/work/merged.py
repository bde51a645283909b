"""One merge as the trusted role makes it, and as anybody makes it again: from where a version stands and what was
contributed to it to where the next one stands.

Parts: `Standing` (what a merge begins with), `saved` and `restored` (as a checkpoint), `Outcome`, `merged`. Law: pure; the
same standing, accepted contributions, payloads and held-out text give the same bytes and the same verdicts anywhere.
Standing weights are float32 and are published rounded: what a member is given is the rounded version, and what it
sends is added to the unrounded one, so that changes below bfloat16's grain add up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archipel.model.config import DecoderConfig
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.checkpoint import BadCheckpoint, Checkpoint, read_file, write_checkpoint
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.commitment import GateText
from archipel.training.merging.contributions import Contribution, NothingToMerge, Verdict
from archipel.training.merging.loss_gate import Unmeasurable
from archipel.training.merging.merge import merge
from archipel.work.contributing import merge_terms
from archipel.work.exact_judge import exact_judge
from archipel.work.kind import WorkFailed

JUDGED_BY = "w13a15"
"""Variant of the exact contract by which gates score: the nearest to floating point (docs/reference/exact.md)."""
WEIGHTS, MEMORY = "weights.", "memory."
Read = Callable[[BlobRef], bytes]


@dataclass(frozen=True)
class Standing:
    """What the merge that makes the next version begins with."""

    version: int
    weights: Tensors
    """float32, not rounded."""
    memory: Tensors
    """Of the outer optimiser; empty at version 0."""


@dataclass(frozen=True)
class Outcome:
    """What came of one merge."""

    standing: Standing | None
    """Of the next version; None: no contribution was fit, and there is none."""
    verdicts: tuple[dict[str, Any], ...]
    """Of each contribution, in the order of the inputs, as `records.kinds.merge.Verdict` says it."""
    whys: tuple[str, ...]
    """A sentence for each that was refused."""


def saved(standing: Standing, folder: Path, facts: Mapping[str, str]) -> Path:
    """Write a checkpoint into the folder. Raises OSError: the disk is full or not writable."""
    named = {f"{WEIGHTS}{name}": each for name, each in standing.weights.items()}
    named |= {f"{MEMORY}{name}": each for name, each in standing.memory.items()}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in named.items()}
    return write_checkpoint(folder, standing.version, tensors, facts)


def restored(checkpoint: Checkpoint) -> Standing:
    """What was saved. Raises BadCheckpoint: it is no standing."""

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): each.numpy()
            for name, each in checkpoint.tensors.items()
            if name.startswith(prefix)
        }

    weights, memory = part(WEIGHTS), part(MEMORY)
    others = [each for each in (*weights.values(), *memory.values()) if each.dtype != np.float32]
    if not weights or others or len(weights) + len(memory) != len(checkpoint.tensors):
        raise BadCheckpoint(
            f"checkpoint {checkpoint.number} holds {len(weights)} weights and {len(memory)} tensors of memory, "
            f"{len(others)} of them not float32; it is of no merge"
        )
    return Standing(checkpoint.number, weights, memory)


def read_standing(path: Path) -> Standing:
    """Of one checkpoint file. Raises BadCheckpoint."""
    return restored(read_file(path))


def merged(
    standing: Standing,
    inputs: Sequence[AcceptedWork],
    read: Read,
    pace: PretrainPace,
    gate: tuple[GateText, DecoderConfig] | None,
) -> Outcome:
    """The merge that makes version `standing.version` + 1.

    inputs: accepted contributions, as the lab lists them. read: brings the bytes of a payload. gate: the text that
    scores them and the architecture that it is scored by, where the run has a gate.

    Raises:
        WorkFailed: something is no contribution, or the weights at hand have no loss.
    """
    made_from = [_contribution(each, standing.version, read) for each in inputs]
    judge = None if gate is None else exact_judge(gate[1], gate[0], JUDGED_BY)
    try:
        done = merge(standing.weights, standing.memory, made_from, merge_terms(pace), judge)
    except NothingToMerge as error:
        if any(each.weight_micro for each in error.verdicts):  # it was merged, to no numbers
            raise WorkFailed(f"version {standing.version + 1} cannot be made: {error}") from None
        return Outcome(None, *_told(error.verdicts, inputs, standing.version))
    except (Unmeasurable, ValueError) as error:
        raise WorkFailed(f"version {standing.version + 1} cannot be made: {error}") from None
    after = Standing(standing.version + 1, done.weights, done.memory)
    return Outcome(after, *_told(done.verdicts, inputs, standing.version))


def _contribution(each: AcceptedWork, version: int, read: Read) -> Contribution:
    spec, answer = each.spec, each.answer
    if not isinstance(spec, InnerStepSpec) or not isinstance(answer, InnerStepAnswer):
        raise WorkFailed(f"{each.work} is {spec.kind} work, expected inner_step")
    return Contribution(
        member=each.work,
        index=spec.index,
        payload=read(answer.payload),
        tokens=answer.num_tokens,
        steps=answer.steps,
        age=version - spec.version,
    )


def _told(
    verdicts: Sequence[Verdict], inputs: Sequence[AcceptedWork], version: int
) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """Verdicts in the order of the inputs, and why some were refused."""
    places = {(each.index, each.age): each for each in verdicts}
    told, whys = [], []
    for each in inputs:
        spec = each.spec
        verdict = places[spec.index, version - spec.version]  # type: ignore[attr-defined]  # looked at before
        said: dict[str, Any] = {"work": each.work, "weight_micro": verdict.weight_micro}
        if not verdict.weight_micro:  # what is left of too few is left out, too
            said["reason"] = verdict.reason or "outlier"
            whys.append(f"{each.work}: {verdict.why or 'too few others are left'}")
        if verdict.score is not None:
            said["score"] = verdict.score
        told.append(said)
    return tuple(told), tuple(whys)
