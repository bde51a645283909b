"""GGUF files as tests make them: any key, any tensor, right or wrong."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

STRING, ARRAY = 8, 9


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def fact(value: Any) -> bytes:
    """A value with its kind: whole numbers are uint32, lists of them int32."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if value and isinstance(value[0], int):
        return struct.pack(f"<IIQ{len(value)}i", ARRAY, 5, len(value), *value)
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(text(each) for each in value)


def file_of(
    facts: Mapping[str, Any],
    tensors: Mapping[str, tuple[tuple[int, ...], int, bytes]],
    *,
    counts: tuple[int, int] | None = None,
    offsets: Mapping[str, int] | None = None,
) -> bytes:
    """The whole file. tensors: name -> shape (slowest first), number of the kind, bytes."""
    data = b"GGUF" + struct.pack("<IQQ", 3, *(counts or (len(tensors), len(facts))))
    for key, value in facts.items():
        data += text(key) + fact(value)
    body = b""
    for name, (shape, kind, values) in tensors.items():
        offset = (offsets or {}).get(name, len(body))
        data += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        data += struct.pack("<IQ", kind, offset)
        body += values + bytes(-len(values) % 32)
    return data + bytes(-len(data) % 32) + body


BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
BYTES += [chr(256 + number) for number in range(256 - len(BYTES))]
"""How byte-level vocabularies write the 256 bytes."""
MERGES = ["t h", "Ġ th", "Ġth e", "1 2", "i n", "Ġ Ġ", "Ċ Ċ", "Ġ a", "' s", "12 3"]
SPECIAL = ["<|begin|>", "<|im_end|>", "<|tool|>"]
WORDS = [*BYTES, *(merge.replace(" ", "") for merge in MERGES), *SPECIAL]
BEGIN, END, TOOL = len(WORDS) - 3, len(WORDS) - 2, len(WORDS) - 1
SIZES = {"hidden": 32, "heads": 4, "kv_heads": 2, "inner": 64}


def small_facts(family: str = "llama", **changes: Any) -> dict[str, Any]:
    """Keys of a model of one layer; `pre="smollm"` and so on change those of the tokenizer."""
    facts: dict[str, Any] = {
        "general.architecture": family,
        "general.license": "apache-2.0",
        f"{family}.block_count": 1,
        f"{family}.context_length": 64,
        f"{family}.embedding_length": SIZES["hidden"],
        f"{family}.feed_forward_length": SIZES["inner"],
        f"{family}.attention.head_count": SIZES["heads"],
        f"{family}.attention.head_count_kv": SIZES["kv_heads"],
        f"{family}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{family}.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": WORDS,
        "tokenizer.ggml.token_type": [1] * (len(WORDS) - 3) + [3, 3, 4],
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": BEGIN,
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}",
    }
    return facts | changes


def small_tensors(kind: int = 0, seed: int = 1) -> dict[str, tuple[tuple[int, ...], int, bytes]]:
    """Of such a llama; 0 is float32, 30 bfloat16."""
    hidden, inner = SIZES["hidden"], SIZES["inner"]
    wide = SIZES["kv_heads"] * (hidden // SIZES["heads"])
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(WORDS), hidden),
        "blk.0.attn_norm.weight": (hidden,),
        "blk.0.attn_q.weight": (hidden, hidden),
        "blk.0.attn_k.weight": (wide, hidden),
        "blk.0.attn_v.weight": (wide, hidden),
        "blk.0.attn_output.weight": (hidden, hidden),
        "blk.0.ffn_norm.weight": (hidden,),
        "blk.0.ffn_gate.weight": (inner, hidden),
        "blk.0.ffn_up.weight": (inner, hidden),
        "blk.0.ffn_down.weight": (hidden, inner),
        "output_norm.weight": (hidden,),
    }
    draw = np.random.Generator(np.random.Philox(key=seed))
    values = {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    form = "<u4" if kind == 0 else "<u2"
    return {
        name: (
            shapes[name],
            kind,
            (each.view("<u4") >> (0 if kind == 0 else 16)).astype(form).tobytes(),
        )
        for name, each in values.items()
    }
