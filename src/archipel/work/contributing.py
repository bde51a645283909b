"""What the pace of a run of pretraining says, as the rooms that compute take it: terms of inner steps, payloads, merges.

Parts: `inner_terms`, `codec_terms`, `merge_terms`, `block_terms`; `widened` and `narrowed` (weights between a version and
arithmetic). Law: integers of a record become floats here and nowhere else, so members, the trusted role and whoever
makes a merge again compute with the same numbers.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from archipel.records.pretraining import MICRO, NANO
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.corpus.assignment import BlockTerms
from archipel.training.exchange import CodecTerms
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.terms import InnerTerms
from archipel.training.merging.loss_gate import GateTerms
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms

LENGTH_BOUND, MOST_LENGTH = 10.0, 1e6
"""Times the median length that a contribution may have, where all members take alike many steps; and at most."""


def inner_terms(pace: PretrainPace, versions: int) -> InnerTerms:
    """How every member trains. versions: outer steps of the run, over which its schedule runs."""
    inner, corpus = pace.inner, pace.corpus
    return InnerTerms(
        total_steps=versions * pace.steps,
        batch=corpus.batch,
        sequence_length=corpus.sequence_length,
        learning_rate=inner.learning_rate_nano / NANO,
        optimiser=inner.optimiser,
        rest_factor=inner.rest_factor_micro / MICRO,
        warmup_steps=inner.warmup_steps,
        schedule=inner.schedule,
        final_fraction=inner.final_micro / MICRO,
        beta1=inner.beta1_micro / MICRO,
        beta2=inner.beta2_micro / MICRO,
        momentum=inner.momentum_micro / MICRO,
        weight_decay=inner.weight_decay_micro / MICRO,
        clip_norm=inner.clip_micro / MICRO,
        state=inner.state,
        micro_batch_tokens=inner.micro_batch_tokens,
    )


def codec_terms(pace: PretrainPace) -> CodecTerms:
    """How contributions are written."""
    payload = pace.payload
    feedback = payload.feedback_micro
    return CodecTerms(
        payload.codec,
        **({} if payload.kept is None else {"kept": payload.kept}),
        error_feedback=None if feedback is None else feedback / MICRO,
    )


def merge_terms(pace: PretrainPace) -> MergeTerms:
    """How they are merged. Raises ValueError: terms that do not go together."""
    merge, outer = pace.merge, pace.outer
    gate = merge.gate
    # sgd has no momentum, whatever a recipe says of it.
    momentum = outer.momentum_micro / MICRO if outer.optimiser == "nesterov" else 0.0
    return MergeTerms(
        codec=codec_terms(pace),
        outer=OuterTerms(outer.optimiser, outer.learning_rate_micro / MICRO, momentum),
        aggregate=merge.aggregate,
        faulty=merge.faulty,
        gate=None if gate is None else GateTerms(gate.share_micro / MICRO, gate.step_micro / MICRO),
        clip=merge.clip,
        # Members that take unequal numbers of steps differ by their ratio at most.
        length_bound=min(max(LENGTH_BOUND, 2 * pace.steps / pace.min_steps), MOST_LENGTH),
    )


def block_terms(pace: PretrainPace) -> BlockTerms:
    """How text is dealt out."""
    corpus = pace.corpus
    return BlockTerms(
        sequence_length=corpus.sequence_length,
        steps=pace.steps,
        batch=corpus.batch,
        members=pace.members,
        epochs=corpus.epochs,
    )


def widened(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """A version's weights as float32, which holds each of them exactly."""
    return {name: each.detach().cpu().float().numpy() for name, each in state.items()}


def narrowed(weights: Tensors) -> dict[str, Tensor]:
    """Weights as a version has them: bfloat16, each rounded to the nearest, ties to even."""
    return {
        name: torch.from_numpy(np.array(each)).to(torch.bfloat16) for name, each in weights.items()
    }
