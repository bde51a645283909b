"""A model of ours as one GGUF file, for llama.cpp and what is built on it.

Parts: `write_gguf`; the tokenizer is `gguf_words`', how numbers lie is `gguf_packed`'s. Source: the GGUF
specification, version 3 (ggml, docs/gguf.md): magic, counts, key-value pairs, tensor descriptions, then the tensors'
bytes, each at a multiple of 32.
Laws: float32 weights are bit for bit; what GGUF cannot say of a model is refused by name; a file appears whole.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from archipel.model.config import DecoderConfig, Family
from archipel.model.gguf_header import CannotWrite
from archipel.model.gguf_packed import FILE_TYPES, Kind, Packed, packed
from archipel.model.gguf_words import Fact, words_of
from archipel.model.network import Decoder
from archipel.model.tokenizer import Tokenizer

ALIGNMENT = 32
MAGIC, VERSION = b"GGUF", 3
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_FORMATS = {_UINT32: "<I", _FLOAT32: "<f", _BOOL: "<?", _INT32: "<i"}

_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INNER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_EXPERT = re.compile(r"mlp\.experts\.(\d+)\.(gate|up|down)_proj")
NAMES: Mapping[Family, str] = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "olmo2": "olmo2", "qwen3_moe": "qwen3moe",
}  # fmt: skip
"""What files call the families that are read and written here; all experts of a layer are one tensor there."""


def write_gguf(path: Path, model: Decoder, tokenizer: Tokenizer, kind: Kind = "float32") -> None:
    """Write weights, configuration and tokenizer to the new file `path`, matrices as `kind`.

    Raises:
        CannotWrite: the tokenizer's words are parted in a way that has no name there, the positions are scaled, or
            the numbers do not fit into `kind`.
        NoDequantiser: `kind` is quantised, and the library that knows how is not here.
        FileExistsError: something is already there.
        OSError: the disk is full or not writable.
    """
    facts = [*_of_network(model.config, kind), *words_of(tokenizer, model.config.vocab_size)]
    named = _tensors(_state(model), model.config)
    tensors = [(name, packed(name, tensor, kind)) for name, tensor in named]
    if path.exists():
        raise FileExistsError(f"{path} is already there; name a new file")
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            _write(file, facts, tensors)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _tensors(state: Mapping[str, Tensor], config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """Names and values there; the experts of a layer, one above the other."""
    stacked: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        called, values = name_in_gguf(name, config), _arranged(name, tensor.detach(), config)
        if expert_of(name) is None:
            yield called, values
        else:
            stacked.setdefault(called, []).append(values)
    for called, experts in stacked.items():
        yield called, torch.stack(experts)


def _of_network(config: DecoderConfig, kind: Kind) -> Iterator[Fact]:
    if config.rope_scaling is not None:
        raise CannotWrite(
            "the model's positions are scaled (rope_scaling); convert its folder with llama.cpp's "
            "convert_hf_to_gguf.py"
        )
    if config.family not in NAMES:
        raise CannotWrite(
            f"family is {config.family}; {', '.join(NAMES)} are written here: convert its folder with llama.cpp's "
            "convert_hf_to_gguf.py"
        )
    family = NAMES[config.family]
    yield "general.architecture", _STRING, family
    yield "general.file_type", _UINT32, FILE_TYPES[kind]
    for key, number in {
        "block_count": config.num_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
        **_of_experts(config),
    }.items():
        yield f"{family}.{key}", _UINT32, number
    yield f"{family}.attention.layer_norm_rms_epsilon", _FLOAT32, config.norm_epsilon
    yield f"{family}.rope.freq_base", _FLOAT32, config.rope_theta


def _of_experts(config: DecoderConfig) -> dict[str, int]:
    experts = config.experts
    if experts is None:
        return {}
    if not experts.normalised:
        raise CannotWrite("norm_topk_prob is false, which llama.cpp does not know of this family")
    return {
        "expert_count": experts.count,
        "expert_used_count": experts.chosen,
        "expert_feed_forward_length": experts.width,
    }


def _state(model: Decoder) -> dict[str, Tensor]:
    """As `state_dict`; llama.cpp knows no olmo2 without a head, so there a tied one is written out."""
    state = model.state_dict()
    if model.config.family == "olmo2" and model.config.tie_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def name_in_gguf(name: str, config: DecoderConfig) -> str:
    """What a tensor of such a decoder is called there.

    Raises:
        CannotWrite: it has no name there.
    """
    if name in _OUTER:
        return _OUTER[name]
    parts = _LAYER.fullmatch(name)
    if parts is None:
        raise CannotWrite(f"no name in GGUF for {name}")
    layer, part, kind = parts.groups()
    if (expert := _EXPERT.fullmatch(part)) is not None:
        return f"blk.{layer}.ffn_{expert[2]}_exps.{kind}"
    inner = _INNER[part]
    if config.family == "olmo2" and part == "post_attention_layernorm":
        inner = "post_attention_norm"  # there it stands behind attention, not before the MLP
    return f"blk.{layer}.{inner}.{kind}"


def expert_of(name: str) -> int | None:
    """Which expert's tensor it is, one part of the file's; None: it is one by itself."""
    parts = _LAYER.fullmatch(name)
    expert = None if parts is None else _EXPERT.fullmatch(parts[2])
    return None if expert is None else int(expert[1])


def _arranged(name: str, tensor: Tensor, config: DecoderConfig) -> Tensor:
    """Float32; a llama's rotary pairs lie side by side in llama.cpp, and half a head apart here."""
    values = tensor.to("cpu", torch.float32).contiguous()
    if config.family != "llama" or not re.search(r"self_attn\.[qk]_proj", name):
        return values
    halves = values.reshape(-1, 2, config.head_dim // 2, *values.shape[1:])
    return halves.transpose(1, 2).reshape(values.shape).contiguous()


def _write(file: IO[bytes], facts: Sequence[Fact], tensors: Sequence[tuple[str, Packed]]) -> None:
    file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(facts)))
    for key, kind, value in facts:
        file.write(_text(key) + struct.pack("<I", kind) + _value(kind, value))
    offset = 0
    for name, tensor in tensors:
        shape = tuple(reversed(tensor.shape))
        described = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        file.write(_text(name) + described + struct.pack("<IQ", tensor.number, offset))
        offset += tensor.data.nbytes + -tensor.data.nbytes % ALIGNMENT
    file.write(bytes(-file.tell() % ALIGNMENT))
    for _, tensor in tensors:
        file.write(tensor.data.tobytes() + bytes(-tensor.data.nbytes % ALIGNMENT))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        of, elements = value
        head = struct.pack("<IQ", of, len(elements))
        return head + b"".join(_value(of, element) for element in elements)
    return struct.pack(_FORMATS[kind], value)
