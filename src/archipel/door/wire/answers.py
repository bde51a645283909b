"""What clients are told, each call in the form that the version that asked takes.

Parts: promises and ends of futures (`promised`, `pending`, `size_alone`, `failed`), results of operations (`scored`,
`stepped`, `sampled`), `replies` and `listings` have all else.
Law: who accepts protobuf gets it for the two results that hold numbers, and JSON for all else; clients from 0.25 on take
nothing else there, those before 0.22 never ask for it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from archipel.door.hands import Sampled, TopK
from archipel.door.wire import messages, sampling
from archipel.door.wire.errors import Failure, Told
from archipel.door.wire.tensors import Array, batched_message, tensor_message
from archipel.training.tenants.operations import Scored, Stepped

QueueState = Literal["active", "paused_capacity", "paused_rate_limit"]
OUTPUT_TYPE = "ArrayRecord"
MASK_LOGPROB = -99999.0


def takes_protobuf(accept: str) -> bool:
    """Whether whoever sent this header Accept takes results in protobuf."""
    return messages.MEDIA_TYPE in accept.lower()


def said(value: Mapping[str, Any], status: int = 200) -> Told:
    """A row of JSON. NaN and infinities have no word there and are null."""
    try:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        body = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return Told(status, body.encode())


def nothing() -> Told:
    """A call that has no answer but that it was done."""
    return said({})


def promised(
    request: str, model: str | None = None, sequences: Sequence[str] | None = None
) -> Told:
    """It is written down and will be done; sequences: ids of a sample's completions, of each one."""
    found: dict[str, Any] = {"request_id": request}
    if model is not None:
        found["model_id"] = model
    if sequences is not None:
        found["sample_sequence_ids"] = list(sequences)
    return said(found)


def pending(request: str, state: QueueState = "active", reason: str | None = None) -> Told:
    """The poll's time is over and there is no answer yet: all versions ask again at once on 408."""
    found = {"type": "try_again", "request_id": request, "queue_state": state}
    return said(found | ({} if reason is None else {"queue_state_reason": reason}), 408)


def size_alone(num_bytes: int) -> Told:
    """The answer is there and large; the client asks again when it has room."""
    return said({"status": "complete_metadata", "response_payload_size": num_bytes})


def failed(why: Failure) -> Told:
    """The future ended without being done."""
    return said({"error": why.error, "category": why.category})


def scored(outcome: Scored, protobuf: bool) -> Told:
    """Of a forward_backward or forward."""
    metrics = _metrics(outcome.metrics)
    if not protobuf:
        rows = [
            {"logprobs": {"data": each.tolist(), "dtype": "float32", "shape": [len(each)]}}
            for each in outcome.logprobs
        ]
        return said(
            {"loss_fn_output_type": OUTPUT_TYPE, "loss_fn_outputs": rows, "metrics": metrics}
        )
    made = messages.new("ForwardBackwardOutput")
    made.loss_fn_output_type = OUTPUT_TYPE
    record = made.loss_fn_outputs.add()
    record.type_tag = OUTPUT_TYPE
    record.num_datums = len(outcome.logprobs)
    record.fields["logprobs"].CopyFrom(batched_message(outcome.logprobs))
    for name, value in metrics.items():
        made.metrics[name] = value
    return _message(made)


def stepped(outcome: Stepped) -> Told:
    """Of an optim_step."""
    return said({"metrics": _metrics(outcome.metrics)})


def sampled(asked: sampling.Asked, outcome: Sampled, protobuf: bool) -> Told:
    """Of an asample."""
    prompt, top = _last(asked, outcome)
    return (
        _sampled_message(asked, outcome, prompt, top)
        if protobuf
        else _sampled_json(outcome, prompt, top)
    )


def _last(asked: sampling.Asked, outcome: Sampled) -> tuple[Array | None, TopK | None]:
    """The prompt's log-probabilities, of which only the last so many may be asked."""
    prompt, top = outcome.prompt_logprobs, outcome.topk_prompt
    if not asked.prompt_logprobs:
        prompt = None
    if asked.last_n is None:
        return prompt, top
    first = len(asked.prompt) - asked.last_n
    if prompt is not None:
        prompt = np.array(prompt)
        prompt[:first] = np.nan
    if top is not None:
        tokens, logprobs = np.array(top.tokens), np.array(top.logprobs)
        tokens[:first], logprobs[:first] = 0, MASK_LOGPROB
        top = TopK(tokens, logprobs)
    return prompt, top


def _sampled_message(
    asked: sampling.Asked, outcome: Sampled, prompt: Array | None, top: TopK | None
) -> Told:
    made = messages.new("SampleResponse")
    for each in outcome.sequences:
        sequence = made.sequences.add()
        sequence.stop_reason = messages.STOP if each.ended_by == "stop" else messages.LENGTH
        sequence.tokens = np.array(each.tokens, "<i4").tobytes()
        sequence.logprobs = np.array(each.logprobs, "<f4").tobytes()
        if each.topk is not None:
            _fill_top(sequence.topk_sampled_logprobs, each.topk)
    if prompt is not None:
        made.prompt_logprobs = prompt.astype("<f4").tobytes()
    if top is not None:
        _fill_top(made.topk_prompt_logprobs, top)
    if asked.targets is not None and outcome.target_prompt is not None:
        targets = asked.targets
        num_cells = targets.shape[0] * targets.shape[1]
        if targets.layout is not None:
            num_cells = len(targets.layout.columns)
        values = np.full(num_cells, sampling.MASKED_TARGET, np.float32)
        values[targets.asking] = outcome.target_prompt
        tensor = tensor_message(values, targets.shape, targets.layout)
        made.target_prompt_logprobs.CopyFrom(tensor)
    return _message(made)


def _sampled_json(outcome: Sampled, prompt: Array | None, top: TopK | None) -> Told:
    sequences = [
        {"stop_reason": each.ended_by, "tokens": list(each.tokens), "logprobs": list(each.logprobs)}
        for each in outcome.sequences
    ]
    return said(
        {
            "type": "sample",
            "sequences": sequences,
            "prompt_logprobs": None if prompt is None else prompt.tolist(),
            "topk_prompt_logprobs": None if top is None else _pairs(top),
        }
    )


def _pairs(top: TopK) -> list[list[tuple[int, float]] | None]:
    """(token, log-probability) at each place, or None where there is none."""
    rows = zip(top.tokens.tolist(), top.logprobs.tolist(), strict=True)
    found = ([pair for pair in zip(*row, strict=True) if pair != (0, MASK_LOGPROB)] for row in rows)
    return [row or None for row in found]


def _fill_top(made: Any, top: TopK) -> None:
    made.length, made.k = top.tokens.shape
    made.token_ids = top.tokens.astype("<i4").tobytes()
    made.logprobs = top.logprobs.astype("<f4").tobytes()


def _message(made: Any) -> Told:
    return Told(200, made.SerializeToString(), media=messages.MEDIA_TYPE)


def _metrics(found: Mapping[str, float]) -> dict[str, float]:
    """Clients add up chunks by what stands after the one colon of a metric's name, and take no word for what is not finite."""
    return {
        name if name.count(":") == 1 else f"{name.replace(':', '_')}:mean": float(value)
        for name, value in found.items()
        if math.isfinite(value)
    }


def _finite(value: Any) -> Any:
    """The same, with null for numbers that JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
