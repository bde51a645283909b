"""Tinker's messages as its public client writes and reads them."""

import struct
from typing import Any

import numpy as np
import pytest
import zstandard

from archipel.door.hands import Completion, Sampled, TopK
from archipel.door.wire import answers, bounds, counting, messages, sampling, tensors, training
from archipel.door.wire.errors import Refused
from archipel.door.wire.provenance import Provenance, Span
from archipel.door.wire.unpacking import unpacked
from archipel.training.tenants.operations import Scored, Stepped

# As client 0.38.0 writes them with its own descriptor.
REQUEST = bytes.fromhex(
    "0a026d6d10031aae010a100a0e0a0c01000000020000000300000012210a0a616476616e746167657312130a0c000000000000803f00000040"
    "1801220103121f0a086c6f6770726f627312130a0c000000bf000080bf000000c0180122010312300a0d7461726765745f746f6b656e73121f"
    "0a1802000000000000000300000000000000040000000000000018022201031a070a050a017318021a0712050a0173180122090a070a017310"
    "011801220712050a017318021a610a080a060a040500000012190a0a616476616e7461676573120b0a040000803f180122010112170a086c6f"
    "6770726f6273120b0a0400000000180122010112210a0d7461726765745f746f6b656e7312100a080600000000000000180222020101220370"
    "706f2a1d0a12636c69705f6c6f775f7468726573686f6c64119a9999999999e93f30013a1f0a12636c69705f6c6f775f7468726573686f6c64"
    "1209099a9999999999e93f"
)
SAMPLED = bytes.fromhex(
    "0a3e120809000000080000001a08000080be000000bf22280a10090000000100000008000000000000001210000080be000000c0000000bf80"
    "4fc3c7180220020a0e08011204070000001a04000080bf120c0000c07f000080bf000000c01a380a1800000000000000000400000005000000"
    "06000000000000001218804fc3c7804fc3c7000000be000000c0000000bf804fc3c7180220032a32122a0a04000060c0121800000000000000"
    "00010000000000000001000000000000001a080500000000000000180122020208"
)
SCORED = bytes.fromhex(
    "0a0b41727261795265636f726412470a0b41727261795265636f726412360a086c6f6770726f6273122a0a0c000080bf000000c0000040c012"
    "18000000000000000008000000000000000c00000000000000180118021a130a086c6f73733a73756d110000000000001840"
)
TOP = TopK(np.array([[9, 1], [8, 0]], np.int32), np.array([[-0.25, -2], [-0.5, -99999]], "f4"))
PROMPT_TOP = TopK(
    np.array([[0, 0], [4, 5], [6, 0]], np.int32),
    np.array([[-99999, -99999], [-0.125, -2], [-0.5, -99999]], np.float32),
)
OUTCOME = Sampled(
    (Completion((9, 8), (-0.25, -0.5), "stop", TOP), Completion((7,), (-1.0,), "length", None)),
    np.array([np.nan, -1, -2], np.float32),
    PROMPT_TOP,
    np.array([-3.5], np.float32),
    6,
)
ASKED = sampling.read_sample(
    b'{"num_samples":2,"prompt":{"chunks":[{"tokens":[1,2,3],"type":"encoded_text"}]},"sampling_params":'
    b'{"max_tokens":4},"sampling_session_id":"s","seq_id":0,"prompt_logprobs":true,"topk_prompt_logprobs":2,'
    b'"target_prompt_logprobs":{"data":[7],"dtype":"int64","shape":[2,8],"sparse_crow_indices":[0,1,1],'
    b'"sparse_col_indices":[5]}}'
)


def _request(**tensor: Any) -> Any:
    """One datum of two tokens, whose targets are said like this."""
    made = messages.new("ForwardBackwardRequest")
    made.model_id, made.seq_id, made.loss_fn = "m", 1, "cross_entropy"
    datum = made.data.add()
    datum.model_input.add().encoded_text.tokens = struct.pack("<2i", 1, 2)
    said = {"dtype": messages.INT64, "dense": struct.pack("<2q", 2, 3), "shape": [2]} | tensor
    datum.loss_fn_inputs["target_tokens"].MergeFrom(
        type(messages.new("Tensor"))(
            **{name: each for name, each in said.items() if each is not None}
        )
    )
    return made


def _read(made: Any) -> training.Asked:
    return training.read_message(made.SerializeToString())


def test_a_clients_training_question_is_read_whole() -> None:
    asked = training.read_message(REQUEST)
    assert (asked.model, asked.seq_id, asked.num_tokens) == ("mm", 3, 4)
    operation = asked.operation
    assert (operation.loss, operation.config, operation.forward_only) == (
        "ppo",
        {"clip_low_threshold": 0.8},
        True,
    )
    first, second = operation.data
    assert first.tokens_T.tolist() == [1, 2, 3]
    assert {name: each.tolist() for name, each in first.inputs.items()} == {
        "target_tokens": [2, 3, 4],
        "logprobs": [-0.5, -1.0, -2.0],
        "advantages": [0.0, 1.0, 2.0],
    }
    assert second.inputs["target_tokens"].tolist() == [6], "one target at each place, as a column"
    for array, kind in (
        (first.tokens_T, "int32"),
        *((each, None) for each in first.inputs.values()),
    ):
        assert not array.flags.writeable
        assert kind is None or array.dtype == kind
    prompt, sampled = Span("s", True, 0, 2), Span("s", False, 0, 1)
    targets = (Span("s", True, 1, 1), Span("s", False, 0, 2))
    assert asked.provenance == (Provenance((prompt, sampled), targets), None)


def test_a_packed_question_is_the_same_question(packed: bytes) -> None:
    assert unpacked(packed, " ZSTD ") == REQUEST
    assert unpacked(REQUEST, "") == REQUEST


def test_answers_are_the_bytes_that_the_client_itself_would_write() -> None:
    told = answers.sampled(ASKED, OUTCOME, protobuf=True)
    assert told.media == messages.MEDIA_TYPE
    assert told.body == SAMPLED
    scored = Scored((np.array([-1, -2], np.float32), np.array([-3], np.float32)), {"loss:sum": 6})
    assert answers.scored(scored, protobuf=True).body == SCORED
    assert messages.parse("SampleResponse", SAMPLED).SerializeToString() == SAMPLED


def test_metrics_have_the_one_colon_that_clients_split_at_and_are_finite() -> None:
    told = answers.stepped(Stepped({"loss:sum": 1.0, "norm": 2.0, "a:b:c": 3.0, "x": float("nan")}))
    assert told.body == b'{"metrics":{"loss:sum":1.0,"norm:mean":2.0,"a_b_c:mean":3.0}}'


def test_only_the_last_of_a_prompt_is_told_where_that_is_asked() -> None:
    asked = sampling.read_sample(
        b'{"prompt":{"chunks":[{"tokens":[1,2,3]}]},"sampling_params":{},"base_model":"b",'
        b'"prompt_logprobs":true,"prompt_logprobs_last_n":1,"topk_prompt_logprobs":2}'
    )
    made = messages.parse("SampleResponse", answers.sampled(asked, OUTCOME, protobuf=True).body)
    assert np.isnan(np.frombuffer(made.prompt_logprobs, "<f4")).tolist() == [True, True, False]
    assert np.frombuffer(made.topk_prompt_logprobs.token_ids, "<i4").tolist() == [0, 0, 0, 0, 6, 0]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("<i8", [2, 3]), ("<i4", [2, 3])],
)
def test_targets_may_be_of_either_width(dtype: str, values: list[int]) -> None:
    kind = messages.INT64 if dtype == "<i8" else messages.INT32
    asked = _read(_request(dtype=kind, dense=np.array(values, dtype).tobytes()))
    assert asked.operation.data[0].inputs["target_tokens"].tolist() == values
    assert asked.operation.data[0].inputs["weights"].tolist() == [1.0, 1.0], "none were sent"


def test_bfloat16_is_the_upper_half_of_a_float() -> None:
    made = messages.new("Tensor")
    made.dtype, made.dense = messages.BFLOAT16, struct.pack("<2H", 0x3F80, 0xC040)
    assert tensors.read_message(made, "x").values.tolist() == [1.0, -3.0]


def test_a_sparse_tensor_is_written_out_where_it_says() -> None:
    layout = tensors.Layout(np.array([0, 2, 2, 3]), np.array([0, 3, 1]))
    made = tensors.tensor_message(np.array([1, 2, 3]), (3, 4), layout)
    cells = tensors.read_message(made, "x")
    assert tensors.dense(cells, "x", -1).tolist() == [[1, -1, -1, 2], [-1] * 4, [-1, 3, -1, -1]]
    column = tensors.Layout(np.array([0, 1, 1]), np.array([0]))
    request = _request(shape=[2, 1], dense=None)
    request.data[0].loss_fn_inputs["target_tokens"].CopyFrom(
        tensors.tensor_message(np.array([5]), (2, 1), column)
    )
    assert _read(request).operation.data[0].inputs["target_tokens"].tolist() == [5, 0]


@pytest.mark.parametrize(
    ("crow", "columns", "words"),
    [
        ([0, 1], [0, 1], "row pointers"),
        ([0, 2, 1, 2], [0, 1], "rise"),
        ([1, 1, 2, 2], [0, 1], "rise"),
        ([0, 2, 2, 2], [0, 4], "columns outside"),
        ([0, 2, 2, 2], [-1, 1], "columns outside"),
        ([0, 2, 2, 2], [1, 1], "do not rise"),
        ([0, 2, 2, 2], [3, 1], "do not rise"),
    ],
)
def test_a_sparse_tensor_that_is_none_is_refused(
    crow: list[int], columns: list[int], words: str
) -> None:
    layout = tensors.Layout(np.array(crow), np.array(columns))
    with pytest.raises(Refused, match=words):
        tensors.read_message(tensors.tensor_message(np.array([1, 2]), (3, 4), layout), "x")


def test_row_pointers_whose_differences_wrap_around_are_refused() -> None:
    layout = tensors.Layout(np.array([0, 2**63 - 1, -(2**63), -1, 2]), np.array([0, 1]))
    assert (np.diff(layout.crow) > 0).all(), "they seem to rise"
    with pytest.raises(Refused, match="rise from 0 to 2"):
        tensors.read_message(tensors.tensor_message(np.array([1, 2]), (4, 4), layout), "x")


def test_a_sparse_tensor_is_not_written_out_beyond_the_bound() -> None:
    side = 1 << 12
    layout = tensors.Layout(np.zeros(side + 1, np.int64), np.zeros(0, np.int64))
    cells = tensors.read_message(
        tensors.tensor_message(np.zeros(0, np.int64), (side, side), layout), "x"
    )
    with pytest.raises(Refused, match="cells") as refused:
        tensors.dense(cells, "x")
    assert refused.value.kind == "too_large"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"dense": b"123"}, "3 bytes of numbers of 8"),
        ({"shape": [3]}, "2 numbers for the shape"),
        ({"shape": [1, 1, 2]}, "one or two axes"),
        ({"shape": [-2]}, "one or two axes"),
        ({"shape": [1, 2]}, "a number for each token"),
        ({"dtype": 0}, "of type 0"),
        ({"dtype": 9}, "of type 9"),
        ({"dtype": messages.FLOAT32, "dense": struct.pack("<2f", 2, 3)}, "expected int64"),
        ({"dtype": messages.FLOAT32, "dense": struct.pack("<2f", 2, float("nan"))}, "NaN"),
        ({"dense": struct.pack("<2q", 2, -100)}, "-100"),
    ],
)
def test_targets_that_disagree_with_themselves_are_refused(
    said: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        _read(_request(**said))
    assert refused.value.kind == "impossible"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("loss_fn", "custom", "forward_backward_custom"),
        ("loss_fn", "mine", "expected one of"),
        ("loss_fn", "ppo", "lacks advantages, logprobs"),
        ("seq_id", 0, "from 1 up"),
        ("model_id", "", "model's id"),
        ("model_id", "x" * 129, "model's id"),
    ],
)
def test_questions_that_make_no_sense_are_refused(field: str, value: Any, words: str) -> None:
    request = _request()
    setattr(request, field, value)
    with pytest.raises(Refused, match=words):
        _read(request)


def test_other_inputs_chunks_and_constants_are_refused() -> None:
    request = _request()
    request.data[0].loss_fn_inputs["mine"].CopyFrom(tensors.tensor_message(np.ones(2, "f4"), (2,)))
    with pytest.raises(Refused, match="'mine'"):
        _read(request)
    for kind in ("image", "dmel"):
        request = _request()
        getattr(request.data[0].model_input.add(), kind).SetInParent()
        with pytest.raises(Refused, match=f"a chunk that is {kind}"):
            _read(request)
    request = _request()
    request.data[0].model_input[0].encoded_text.tokens = struct.pack("<2i", 1, -2)
    with pytest.raises(Refused, match="the token -2"):
        _read(request)
    for value in (float("inf"), "text"):
        request = _request()
        said = request.loss_fn_config_v2["c"]
        setattr(said, "text" if isinstance(value, str) else "number", value)
        with pytest.raises(Refused, match="constant 'c'"):
            _read(request)
    with pytest.raises(Refused, match="no data"):
        _read(
            messages.new("ForwardBackwardRequest").__class__(model_id="m", seq_id=1, loss_fn="dro")
        )


def test_provenance_tiles_a_datum_or_is_refused() -> None:
    request = _request()
    said = request.data[0]
    said.model_input_spans.add().sampled_tokens.sequence_id = "s"
    with pytest.raises(Refused, match="0 tokens of 2"):
        _read(request)
    said.model_input_spans[0].sampled_tokens.length = 2
    with pytest.raises(Refused, match="targets"):
        _read(request)
    said.loss_fn_input_spans.add().prompt_tokens.length = 2
    with pytest.raises(Refused, match="without the id"):
        _read(request)
    said.loss_fn_input_spans[0].prompt_tokens.sequence_id = "s"
    assert _read(request).provenance[0] is not None
    said.loss_fn_input_spans[0].prompt_tokens.offset = -1
    with pytest.raises(Refused, match="places of a sequence"):
        _read(request)


def test_a_model_is_asked_only_for_what_it_can_read() -> None:
    asked = training.read_message(REQUEST)
    training.fit(asked, max_context=3, vocab_size=7)
    with pytest.raises(Refused, match="at most 2"):
        training.fit(asked, max_context=2, vocab_size=7)
    with pytest.raises(Refused, match="knows 0 to 5"):
        training.fit(asked, max_context=3, vocab_size=6)


def test_very_many_empty_messages_are_counted_before_they_are_made() -> None:
    with pytest.raises(Refused, match="fields in one message") as refused:
        training.read_message(b"\x1a\x00" * (training.MAX_FIELDS + 1))
    assert refused.value.kind == "too_large"
    within = b"\x0a\x00" * (training.MAX_FIELDS_WITHIN + 1)
    one = b"\x1a" + _varint(len(within)) + within
    with pytest.raises(Refused, match="fields in one message"):
        training.read_message(one)
    with pytest.raises(Refused, match="at most 1024 in one call"):
        training.read_message(b"\x0a\x01m\x10\x01\x22\x03dro" + b"\x1a\x00" * (bounds.MAX_DATA + 1))


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x05x", b"\x80" * 11, b"\x0b\x0c", b"\x09\x00", b"\x0f", b"\x0a\x01\xff"],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        training.read_message(data)
    assert refused.value.kind == "malformed"


def test_fields_are_found_as_they_lie() -> None:
    data = b"\x08\x96\x01\x12\x02ab\x19" + bytes(8) + b"\x25" + bytes(4)
    found = [(number, bytes(content)) for number, content in counting.fields(memoryview(data))]
    assert found == [(1, b""), (2, b"ab"), (3, b""), (4, b"")]


def test_a_body_is_unpacked_within_bounds_however_small_it_came() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(bounds.MAX_BODY_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(Refused) as refused:
        unpacked(bomb, "zstd")
    assert refused.value.kind == "too_large"
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(
        bytes(bounds.MAX_BODY_BYTES + 1)
    )
    whole = zstandard.ZstdCompressor().compress(bytes(1000))
    for body in (silent, whole[:-1], whole + b"x", b"x", b""):
        with pytest.raises(Refused) as refused:
            unpacked(body, "zstd")
        assert refused.value.kind == "malformed"
    with pytest.raises(Refused, match="expected zstd"):
        unpacked(b"", "gzip")
    with pytest.raises(Refused, match="at most"):
        unpacked(bytes(bounds.MAX_BODY_BYTES + 1), "")


@pytest.fixture
def packed() -> bytes:
    return bytes(zstandard.ZstdCompressor().compress(REQUEST))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
