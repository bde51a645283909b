"""Readers of what clients of Tinker's protocol send to a door: questions in protobuf and JSON, names, addresses."""

import json
from typing import Any

import numpy as np
import zstandard

from archipel.door.wire import bodies, calls, messages, paths, sampling, tensors, training
from archipel.door.wire.errors import Refused
from archipel.door.wire.reading import Body, Page, read, read_fields
from archipel.door.wire.unpacking import unpacked
from fuzz.reading import Reader

FORMS: tuple[type[Body], ...] = (
    bodies.ClientConfig, bodies.CreateSession, bodies.SessionHeartbeat, bodies.FinishSession, bodies.LoraConfig,
    bodies.CreateModel, bodies.ModelNamed, bodies.OptimStepBody, bodies.SaveWeights, bodies.SaveWeightsForSampler,
    bodies.SaveWeightsExternal, bodies.LoadWeights, bodies.WeightsInfo, bodies.SetTtl, bodies.CreateSamplingSession,
    bodies.JoinSamplingSession, bodies.RetrieveFuture, bodies.RetrieveFutures, bodies.CancelFuture, bodies.SearchSessions,
)  # fmt: skip
SPARSE = {"data": [7], "dtype": "int64", "shape": [2, 8], "sparse_crow_indices": [0, 1, 1]}
SAMPLE: dict[str, Any] = {
    "prompt": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
    "sampling_params": {"max_tokens": 3, "stop": ["a"], "seed": 1, "temperature": 0.5},
    "sampling_session_id": "s",
    "seq_id": 0,
    "target_prompt_logprobs": SPARSE | {"sparse_col_indices": [5]},
}
DATUM = {
    "model_input": {"chunks": [{"tokens": [1, 2]}]},
    "loss_fn_inputs": {
        "target_tokens": {"data": [2, 3], "dtype": "int64"},
        "logprobs": {"data": [-0.5, -1.0], "dtype": "float32", "shape": [2]},
        "advantages": {"data": [1, 2], "dtype": "float32"},
    },
}
BODIES: tuple[dict[str, Any], ...] = (
    {"session_id": "s", "model_seq_id": 0, "base_model": "b", "lora_config": {"rank": 8}},
    {"model_id": "m", "seq_id": 1, "adam_params": {"learning_rate": 0.1}},
    {"path": "tinker://m/weights/a", "optimizer": True, "model_id": "m", "seq_id": 1},
    {"target": {"sampling_session_id": "s"}, "prev_cursor": 3, "retrieved_request_ids": ["a"]},
)


def readers() -> dict[str, Reader]:
    """One for each."""
    asked = _request()
    packed = zstandard.ZstdCompressor().compress(asked)
    return {
        "training questions": Reader(_trained, (asked,), (Refused,)),
        "packed bodies": Reader(
            lambda data: _trained(unpacked(data, "zstd")), (packed,), (Refused,)
        ),
        "training questions in JSON": Reader(
            lambda data: training.read_json(data, forward_only=False),
            (_json(_older("forward_backward_input")),),
            (Refused,),
        ),
        "forward in JSON": Reader(
            lambda data: training.read_json(data, forward_only=True),
            (_json(_older("forward_input")),),
            (Refused,),
        ),
        "samples": Reader(_sampled, (_json(SAMPLE),), (Refused,)),
        "bodies of a door": Reader(_any_body, tuple(map(_json, BODIES)), (Refused,)),
        "queries of a door": Reader(
            lambda data: read_fields(
                Page, dict(zip(("limit", "offset"), _texts(data), strict=False))
            ),
            (b"5\n2",),
            (Refused,),
        ),
        "paths of checkpoints": Reader(
            lambda data: paths.read_path(_text(data)),
            (b"tinker://m/weights/a", b"tinker://m/sampler_weights/a.b"),
            (Refused,),
        ),
        "addresses of a door": Reader(
            lambda data: calls.find("GET", _text(data)),
            (b"/api/v1/training_runs/m/checkpoints", b"/api/v1/samplers/s"),
            (Refused,),
        ),
    }


def _trained(data: bytes) -> None:
    training.fit(training.read_message(data), max_context=100, vocab_size=100)


def _sampled(data: bytes) -> None:
    asked = sampling.read_sample(data)
    sampling.fit(asked, max_context=100, vocab_size=100)
    pairs = () if asked.targets is None else asked.targets.pairs
    assert all(1 <= place < len(asked.prompt) for place, _ in pairs)


def _any_body(data: bytes) -> None:
    """As each of the forms; refused only where all refuse it."""
    refused: list[Refused] = []
    for form in FORMS:
        try:
            read(form, data)
        except Refused as why:
            refused.append(why)
    if len(refused) == len(FORMS):
        raise refused[-1]


def _older(name: str) -> dict[str, Any]:
    asked = {"data": [DATUM], "loss_fn": "ppo", "loss_fn_config": {"clip_low_threshold": 0.8}}
    return {"model_id": "m", "seq_id": 1, name: asked}


def _request() -> bytes:
    made = messages.new("ForwardBackwardRequest")
    made.model_id, made.seq_id, made.loss_fn = "m", 1, "cross_entropy"
    made.loss_fn_config_v2["a"].number = 0.5
    datum = made.data.add()
    datum.model_input.add().encoded_text.tokens = bytes([1, 0, 0, 0, 2, 0, 0, 0])
    layout = tensors.Layout(np.array([0, 1, 2]), np.array([0, 0]))
    targets = tensors.tensor_message(np.array([2, 3]), (2, 1), layout)
    datum.loss_fn_inputs["target_tokens"].CopyFrom(targets)
    weights = tensors.tensor_message(np.ones(2, "f4"), (2,))
    datum.loss_fn_inputs["weights"].CopyFrom(weights)
    for spans in (datum.model_input_spans, datum.loss_fn_input_spans):
        span = spans.add().sampled_tokens
        span.sequence_id, span.length = "s", 2
    return bytes(made.SerializeToString())


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _texts(data: bytes) -> list[str]:
    return _text(data).split("\n")
