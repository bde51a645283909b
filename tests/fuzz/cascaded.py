"""Readers of what a cascade and a router are given: their files, questions, and what a large model elsewhere says."""

import json

import numpy as np

from archipel.serve.cascade.measuring import BadJournal, Row, rows_of
from archipel.serve.cascade.policy import BadPolicy, HeadForm, Measured, Policy, parse_policy
from archipel.serve.cascade.probes import BadProbes, parse_probe
from archipel.serve.cascade.streams import Heard
from archipel.serve.question import Refusal
from archipel.serve.router.routes import BadRoutes, parse_routes, trained
from fuzz.reading import Reader

MEASURED = Measured(
    questions=9, small_quality=0.1, large_quality=0.9, quality=0.5, share=0.5, straight=0.1,
    calibration_error=0.1, gate_s=1, small_s=1, large_s=1,
)  # fmt: skip
POLICY = Policy(
    small="0" * 64, gate=HeadForm(weights=(0.5, 1.0), bias=0.0), alpha=0.1,
    signs=HeadForm(weights=(1.0, 1.0, 1.0, 1.0), bias=0.0), rising_at=(0.2, 0.5), rising_value=(0.1, 0.7),
    threshold=0.5, break_even=0.2, measured=MEASURED, precision="int8",
)  # fmt: skip
ROW = Row(
    probe="p", hidden=(0.5,), logprobs=(-1.0,), small=1, large=0, gate_s=1, small_s=1, large_s=1
)
CALL = {"index": 0, "function": {"name": "get", "arguments": "{}"}}
CHUNKS = (
    {"choices": [{"index": 0, "delta": {"content": "hi"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
)


def readers() -> dict[str, Reader]:
    """One for each."""
    draw = np.random.default_rng(0)
    routes = trained("0" * 64, {name: draw.normal(size=(8, 3)) for name in ("a", "b")})
    probes = (
        {"question": "1+1?", "answer": "#### 2", "check": "number"},
        {"messages": [{"role": "user", "content": "x"}], "answer": "y", "kind": "k"},
    )
    return {
        "cascade policies": Reader(
            lambda data: parse_policy(data, "p"), (POLICY.model_dump_json().encode(),), (BadPolicy,)
        ),
        "cascade journals": Reader(
            lambda data: rows_of(data, "j"), (ROW.model_dump_json().encode(),), (BadJournal,)
        ),
        "cascade questions": Reader(
            lambda data: parse_probe(data, "exact", "f:1"),
            tuple(json.dumps(each).encode() for each in probes),
            (BadProbes,),
        ),
        "large models' streams": Reader(
            lambda data: list(Heard(2).line(b"data: " + data)),
            tuple(json.dumps(each).encode() for each in CHUNKS),
            (Refusal,),
        ),
        "routes": Reader(
            lambda data: parse_routes(data, "r"), (routes.model_dump_json().encode(),), (BadRoutes,)
        ),
    }
