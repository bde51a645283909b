"""Fingerprints come from the very activations that tokens were sampled from, whoever runs beside them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.fingerprints import Prints
from archipel.engine.toploc import distances, prove
from archipel.model.directory import write_model
from archipel.model.network import Decoder, causal_attention
from archipel.records.rollouts import Rollout
from engine.engine_models import decoder_of, lively_state, small_config

CONFIG = small_config("qwen3")
ASKED = [
    Request("0", (5, 6, 7), 77, 3, 40, tells_fingerprints=True),
    Request("1", (8, 9), 78, 2, 33, tells_fingerprints=True),
    Request("2", (8, 9, 3, 4), 79, 2, 5),
]


def sampled(slots: int, dtype: torch.dtype = torch.float32) -> list[tuple[Rollout, ...]]:
    engine = LocalEngine(CONFIG, dtype, limits=EngineLimits(max_slots=slots))
    engine.load(lively_state(CONFIG))
    return engine.generate(ASKED)


def patterns(decoder: Decoder, request: Request, rollout: Rollout) -> np.ndarray:
    """The last hidden state by the trainer's network."""
    line = torch.tensor([[*request.prompt, *rollout.tokens[:-1]]])
    with torch.no_grad():
        hidden = decoder(line, torch.arange(line.shape[1])[None], causal_attention)
    own = hidden[0, len(request.prompt) - 1 :].to(torch.bfloat16)
    return own.contiguous().view(torch.int16).numpy().view(np.uint16)


def test_fingerprints_are_of_the_activations_of_a_prefill_and_only_who_asks_has_them() -> None:
    decoder = decoder_of(CONFIG, lively_state(CONFIG))
    for request, group in zip(ASKED, sampled(8), strict=True):
        for rollout in group:
            if not request.tells_fingerprints:
                assert rollout.fingerprints is None
                continue
            assert rollout.fingerprints is not None
            apart = distances(rollout.fingerprints, patterns(decoder, request, rollout))
            assert len(apart) == -(-len(rollout.tokens) // 32)
            # fp32 twice, rounded to bf16: now and then one that lies between two.
            assert sum(each.exponents for each in apart) <= 1
            assert max(each.mean for each in apart) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_company_changes_no_byte_of_a_fingerprint(dtype: torch.dtype) -> None:
    alone, together = sampled(1, dtype), sampled(8, dtype)
    assert alone == together


def test_rows_follow_a_sequence_that_moves_and_a_new_one_begins_with_none() -> None:
    rows = np.random.default_rng(1).integers(0, 0x4000, (40, 3, 8)).astype(np.uint16)
    held = Prints(4)
    for slot in (0, 1, 3):
        held.begin(slot, asked=slot != 1)
    for step in rows[:20]:
        held.append([0, 1, 3], step)
    held.move(3, 2)
    held = held.resized(3, 3)
    for step in rows[20:]:
        held.append([0, 1, 2], step)
    held.finish([0, 1, 2])
    assert held.end(0) == prove(rows[:, 0])
    assert held.end(2) == prove(rows[:, 2])
    assert held.end(1) is None
    held.begin(0, asked=True)
    held.append([0], rows[0, :1])
    held.finish([0])
    assert held.end(0) == prove(rows[:1, 0])
    held.begin(0, asked=True)
    held.finish([0])
    assert held.end(0) is None, "an engine that shows nothing"


def test_the_same_requests_without_fingerprints_sample_the_same_bits() -> None:
    engine = LocalEngine(CONFIG, limits=EngineLimits(max_slots=8))
    engine.load(lively_state(CONFIG))
    plain = engine.generate([replace(each, tells_fingerprints=False) for each in ASKED])
    told = [[replace(each, fingerprints=None) for each in group] for group in sampled(8)]
    assert [list(group) for group in plain] == told


@pytest.mark.slow
def test_the_transformers_engine_brings_those_of_its_own_network(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from archipel.engine.transformers_engine import TransformersEngine

    write_model(tmp_path / "model", lively_state(CONFIG), CONFIG, None)
    engine = TransformersEngine(tmp_path / "model")
    engine.load(lively_state(CONFIG))
    decoder = decoder_of(CONFIG, lively_state(CONFIG))
    for request, group in zip(ASKED, engine.generate(ASKED), strict=True):
        for rollout in group:
            if request.tells_fingerprints:
                apart = distances(rollout.fingerprints or b"", patterns(decoder, request, rollout))
                assert sum(each.exponents for each in apart) <= 1
                assert max(each.mean for each in apart) < 0.1
            else:
                assert rollout.fingerprints is None
