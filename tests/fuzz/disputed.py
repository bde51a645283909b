"""Readers of what the other party of a dispute sends, questions and traces, of texts to check a model on, and of fingerprints."""

import base64
import json
import tempfile
from pathlib import Path

from archipel.engine.exact.trace import BadQuestion, Question, traced
from archipel.engine.exact.trace_files import (
    BadTrace,
    fields_of,
    read_question,
    read_trace,
    write_trace,
)
from archipel.engine.toploc import BadFingerprint, decode
from archipel.model.config import DecoderConfig
from archipel.model.network import random_weights
from archipel.model.tokenizer import UnknownText, byte_tokenizer
from archipel.records.exact import CONTRACTS
from archipel.work.calibration import NothingToMeasure, lines_of_file
from fuzz.foreign import in_file
from fuzz.reading import Reader
from specimens import POLICY

CONFIG = DecoderConfig(
    "llama", vocab_size=8, hidden_size=4, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=2,
    intermediate_size=4, max_position_embeddings=16,
)  # fmt: skip
QUESTION = Question(CONTRACTS["w7a8"], POLICY, (1, 2), (3,), 7, 0, 0.5)


def _lines(path: Path) -> object:
    return lines_of_file(path, byte_tokenizer(), CONFIG, 4)


def readers() -> dict[str, Reader]:
    state = {
        name: w.detach().bfloat16() for name, w in random_weights(CONFIG, 0).named_parameters()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.safetensors"
        write_trace(path, traced(CONFIG, state, QUESTION))
        trace = path.read_bytes()
    errors = (BadQuestion, BadTrace)
    return {
        "calibration texts": Reader(
            in_file("texts.jsonl", _lines),
            (b'{"prompt": "2 + 2 =", "completion": " 4"}\n{"text": "some words"}\n',),
            (NothingToMeasure, UnknownText),
        ),
        "questions": Reader(
            in_file("question.json", read_question),
            (json.dumps(fields_of(QUESTION)).encode(),),
            errors,
        ),
        "fingerprints": Reader(
            lambda proof: decode(proof, 4),
            (base64.b64decode("/9kbQitnukt1bQ=="),),
            (BadFingerprint,),
        ),
        "traces": Reader(
            in_file("trace.safetensors", lambda path: read_trace(path, CONFIG)), (trace,), errors
        ),
    }
