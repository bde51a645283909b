"""Tinker's protobuf messages, from descriptors that are made here out of a table.

Parts: `ENUMS`, `TABLE` (message -> its fields), `new`, `parse`.
Sources: the protocol publishes no .proto file; names, numbers and types are those that its public client puts on the
wire (0.22 to 0.38). Law: an own pool, so that nothing is shared with a client in the same process.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from archipel.door.wire.bounds import MAX_BODY_BYTES
from archipel.door.wire.errors import Refused

PACKAGE = "tinker_public"
MEDIA_TYPE = "application/x-protobuf"

STOP, LENGTH = 0, 1
FLOAT32, INT64, INT32, BFLOAT16 = 1, 2, 3, 4
ENUMS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "StopReason": (("STOP_REASON_STOP", STOP), ("STOP_REASON_LENGTH", LENGTH)),
    "DType": (
        ("DTYPE_UNSPECIFIED", 0),
        ("DTYPE_FLOAT32", FLOAT32),
        ("DTYPE_INT64", INT64),
        ("DTYPE_INT32", INT32),
        ("DTYPE_BFLOAT16", BFLOAT16),
    ),
}
TABLE: Mapping[str, str] = {
    "SampleResponse": """
        1 sequences SampledSequence*
        2 prompt_logprobs bytes?
        3 topk_prompt_logprobs TopkLogprobs?
        4 prompt_cache_hit_tokens int32
        5 target_prompt_logprobs Tensor?
        6 prompt_alt_tokens PromptAltTokens?""",
    "PromptAltTokens": """
        1 tokens Tensor
        2 logprobs Tensor""",
    "SampledSequence": """
        1 stop_reason StopReason
        2 tokens bytes
        3 logprobs bytes?
        4 topk_sampled_logprobs TopkLogprobs?""",
    "TopkLogprobs": """
        1 token_ids bytes
        2 logprobs bytes
        3 k uint32
        4 length uint32""",
    "SparseCsr": """
        1 values bytes
        2 crow_indices bytes
        3 col_indices bytes""",
    "Tensor": """
        1 dense bytes |encoding
        2 sparse_csr SparseCsr |encoding
        3 dtype DType
        4 shape int64*""",
    "BatchedTensor": """
        1 data bytes
        2 offsets bytes
        3 dtype DType
        4 trailing_shape int64*""",
    "ArrayRecord": """
        1 type_tag string
        2 fields {BatchedTensor}
        3 num_datums int64""",
    "ForwardBackwardOutput": """
        1 loss_fn_output_type string
        2 loss_fn_outputs ArrayRecord*
        3 metrics {double}""",
    "ForwardBackwardRequest": """
        1 model_id string
        2 seq_id int32
        3 data Datum*
        4 loss_fn string
        5 loss_fn_config {double}
        6 forward_only bool
        7 loss_fn_config_v2 {LossConfigValue}""",
    "LossConfigValue": """
        1 number double |value
        2 text string |value""",
    "Datum": """
        1 model_input Chunk*
        2 loss_fn_inputs {Tensor}
        3 model_input_spans ProvenanceSpan*
        4 loss_fn_input_spans ProvenanceSpan*""",
    "ProvenanceSpan": """
        1 prompt_tokens PromptProvenanceSpan |span
        2 sampled_tokens SampledProvenanceSpan |span""",
    "PromptProvenanceSpan": """
        1 sequence_id string
        2 offset int64
        3 length int64""",
    "SampledProvenanceSpan": """
        1 sequence_id string
        2 offset int64
        3 length int64""",
    "Chunk": """
        1 encoded_text EncodedTextChunk |chunk
        2 image ImageChunk |chunk
        3 dmel DmelChunk |chunk""",
    "EncodedTextChunk": """
        1 tokens bytes""",
    "ImageChunk": """
        1 data bytes
        2 format string
        3 expected_tokens int32?""",
    "DmelChunk": """
        1 dmel bytes""",
}
"""Number, name, type of each field. `*` repeated, `?` may be missing and is told from zero, `{T}` a map from texts, `|name` one
of a choice."""

_Field = descriptor_pb2.FieldDescriptorProto
SCALARS: Mapping[str, int] = {
    "bytes": _Field.TYPE_BYTES,
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "double": _Field.TYPE_DOUBLE,
}


def new(name: str) -> Any:
    """An empty message of that name in `TABLE`."""
    return _classes()[f"{PACKAGE}.{name}"]()


def parse(name: str, data: bytes) -> Any:
    """A message of a stranger's. Fields that are not in `TABLE` are passed over.

    Raises:
        Refused: `too_large`; `malformed`: these bytes are no such message.
    """
    if len(data) > MAX_BODY_BYTES:
        raise Refused(
            "too_large", f"{len(data)} bytes; at most {MAX_BODY_BYTES}: send less at once"
        )
    found = new(name)
    try:
        found.ParseFromString(data)
    except (message.DecodeError, RecursionError):
        raise Refused("malformed", f"{len(data)} bytes that are no {name} in protobuf") from None
    found.DiscardUnknownFields()
    return found


@cache
def _classes() -> Mapping[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    classes: Mapping[str, Any] = message_factory.GetMessageClassesForFiles(["door.proto"], pool)
    return classes


def _file() -> Any:
    made = descriptor_pb2.FileDescriptorProto(name="door.proto", package=PACKAGE, syntax="proto3")
    for name, values in ENUMS.items():
        enum = made.enum_type.add(name=name)
        for word, meaning in values:
            enum.value.add(name=word, number=meaning)
    for name, fields in TABLE.items():
        form = made.message_type.add(name=name)
        lines = [line.split() for line in fields.strip().splitlines()]
        for number, word, kind, *choice in lines:
            _add(form, int(number), word, kind, choice[0][1:] if choice else "")
        # Last, as the language demands: each field that may be missing is a choice of its own.
        for field in (each for each in form.field if each.proto3_optional):
            field.oneof_index = len(form.oneof_decl)
            form.oneof_decl.add(name=f"_{field.name}")
    return made


def _add(form: Any, number: int, name: str, kind: str, choice: str) -> None:
    """One field, which has not been there."""
    field = form.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith("{"):
        entry = form.nested_type.add(name=_entry(name))
        entry.options.map_entry = True
        _add(entry, 1, "key", "string", "")
        _add(entry, 2, "value", kind[1:-1], "")
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{form.name}.{entry.name}"
        return
    plain = kind.rstrip("*?")
    if plain in SCALARS:
        field.type = SCALARS[plain]
    else:
        field.type = _Field.TYPE_ENUM if plain in ENUMS else _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{plain}"
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
    field.proto3_optional = kind.endswith("?")
    if choice:
        field.oneof_index = _choice(form, choice)


def _choice(form: Any, name: str) -> int:
    """Where the choice of that name is; it is made where it is not there yet."""
    names = [each.name for each in form.oneof_decl]
    if name not in names:
        form.oneof_decl.add(name=name)
        names.append(name)
    return names.index(name)


def _entry(name: str) -> str:
    """What protobuf calls the pairs of a map."""
    return "".join(part.capitalize() for part in name.split("_")) + "Entry"
