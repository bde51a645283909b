"""What clients ask in JSON: as every version writes it, within bounds, and refused in a sentence."""

import json
from typing import Any

import numpy as np
import pytest

from archipel.door.wire import answers, bodies, bounds, errors, paths, sampling, training
from archipel.door.wire.errors import Failure, Refused, failure, told
from archipel.door.wire.reading import Body, Page, read, read_fields

# As client 0.16.1 writes it: fields that have their defaults are left out.
OLD = (
    b'{"forward_backward_input": {"data": [{"loss_fn_inputs": {"target_tokens": {"data": [2, 3], "dtype": "int64", '
    b'"shape": [2]}, "weights": {"data": [0.0, 1.0], "dtype": "float32", "shape": [2]}}, "model_input": {"chunks": '
    b'[{"tokens": [1, 2]}]}}], "loss_fn": "cross_entropy"}, "model_id": "m", "seq_id": 1}'
)
MODEL = {"session_id": "s", "model_seq_id": 0, "base_model": "b", "lora_config": {"rank": 8}}
STEP: dict[str, Any] = {"model_id": "m", "seq_id": 1, "adam_params": {}}
SAMPLE: dict[str, Any] = {
    "prompt": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
    "sampling_params": {},
    "base_model": "b",
}


def _sample(**said: Any) -> sampling.Asked:
    return sampling.read_sample(json.dumps(SAMPLE | said).encode())


def _params(**said: Any) -> sampling.Asked:
    return _sample(sampling_params=said)


def _refused(form: type[Body], said: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        read(form, json.dumps(said).encode())
    return refused.value


def test_the_older_clients_training_question_is_the_newer_ones() -> None:
    asked = training.read_json(OLD, forward_only=False)
    datum = asked.operation.data[0]
    assert (asked.model, asked.seq_id, asked.provenance) == ("m", 1, (None,))
    assert datum.tokens_T.tolist() == [1, 2]
    assert {name: (each.dtype.name, each.tolist()) for name, each in datum.inputs.items()} == {
        "target_tokens": ("int64", [2, 3]),
        "weights": ("float32", [0.0, 1.0]),
    }
    forward = OLD.replace(b"forward_backward_input", b"forward_input")
    assert training.read_json(forward, forward_only=True).operation.forward_only
    with pytest.raises(Refused, match="forward_input"):
        training.read_json(OLD, forward_only=True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[2, 3]", "[2, 3.5]", "float numbers under the type int64"),
        ("[2, 3]", "[2, 9223372036854775808]", "beyond int64"),
        ("[0.0, 1.0]", "[0.0, 1e39]", "NaN or infinite"),
        ("[0.0, 1.0]", "[0.0, NaN]", "finite"),
        ("[0.0, 1.0]", "[0.0, true]", "valid number"),
        ('"shape": [2]}, "w', '"shape": [9]}, "w', "2 numbers for the shape"),
        ('"shape": [2]}, "w', '"sparse_crow_indices": [0, 2]}, "w', "without a shape"),
        ('"int64"', '"int8"', "int64"),
        ("[1, 2]", "[1, -2]", "greater than or equal to 0"),
        ('"tokens": [1, 2]', '"data": "x"', "without tokens"),
        ('"tokens": [1, 2]', '"type": "image", "data": "x"', "a chunk that is image"),
    ],
)
def test_the_older_clients_mistakes_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        training.read_json(OLD.decode().replace(old, new).encode(), forward_only=False)


def test_the_form_of_an_adapter_is_what_the_client_says() -> None:
    form = read(bodies.CreateModel, json.dumps(MODEL).encode()).lora_config.form
    assert (form.rank, form.alpha) == (8, 32)
    assert {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} <= set(
        form.targets
    )
    config = {"rank": 256, "train_mlp": False, "train_unembed": False}
    form = read(bodies.LoraConfig, json.dumps(config).encode()).form
    assert form.targets == ("q_proj", "k_proj", "v_proj", "o_proj")


def test_a_step_is_the_tenants_rooms_step() -> None:
    params = {"learning_rate": 1, "beta1": 0.5, "eps": 0, "weight_decay": 0.1, "grad_clip_norm": -1}
    step = read(bodies.OptimStepBody, json.dumps(STEP | {"adam_params": params}).encode()).operation
    assert (step.learning_rate, step.beta1, step.beta2) == (1.0, 0.5, 0.95)
    assert (step.epsilon, step.weight_decay, step.clip_norm) == (0.0, 0.1, 0.0)


def test_newer_clients_fields_are_passed_over_unless_numbers_hang_on_them() -> None:
    assert read(bodies.OptimStepBody, json.dumps(STEP | {"colour": "red"}).encode()).seq_id == 1
    assert read(
        bodies.OptimStepBody, json.dumps(STEP | {"adam_params": {"amsgrad": False}}).encode()
    )
    why = _refused(bodies.OptimStepBody, STEP | {"adam_params": {"amsgrad": True}})
    assert (why.kind, "'amsgrad'" in why.sentence) == ("impossible", True)
    with pytest.raises(Refused, match="'min_p'"):
        _params(min_p=0.5)


@pytest.mark.parametrize(
    ("form", "said", "words"),
    [
        (bodies.CreateModel, MODEL | {"lora_config": {"rank": 257}}, "257"),
        (bodies.CreateModel, MODEL | {"lora_config": {"rank": 8.5}}, "rank"),
        (bodies.CreateModel, MODEL | {"optimizer_config": {"type": "dimuon"}}, "adamw"),
        (bodies.CreateModel, MODEL | {"user_metadata": {"a": "x" * 20_000}}, "metadata"),
        (bodies.LoraConfig, {"train_attn": False, "train_mlp": False, "train_unembed": False}, "nothing"),
        (bodies.OptimStepBody, STEP | {"seq_id": 0}, "seq_id"),
        (bodies.OptimStepBody, STEP | {"seq_id": 2**31}, "seq_id"),
        (bodies.OptimStepBody, STEP | {"adam_params": {"beta1": 1}}, "beta1"),
        (bodies.OptimStepBody, STEP | {"optimizer_params": {"type": "dimuon"}}, "optimizer_params"),
        (bodies.SaveWeights, {"model_id": "m", "seq_id": 1, "ttl_seconds": 0}, "ttl_seconds"),
        (bodies.SaveWeightsForSampler, {"model_id": "m", "seq_id": 1}, "sampling_session_seq_id"),
        (bodies.SaveWeightsForSampler, {"model_id": "m", "seq_id": 1, "path": "p", "kind": "inflight"}, "snapshot"),
        (bodies.LoadWeights, {"path": "p", "optimizer": True, "model_id": "m"}, "both pairs"),
        (bodies.LoadWeights, {"path": "p", "optimizer": True, "model_id": "m", "seq_id": 1, "session_id": "s"}, "both pairs"),
        (bodies.CreateSamplingSession, {"session_id": "s", "sampling_session_seq_id": 1}, "base_model"),
        (bodies.RetrieveFutures, {"target": {"sampling_session_id": "s"}, "timeout": 61}, "61"),
        (bodies.RetrieveFuture, {"request_id": ""}, "request_id"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_by_its_name(
    form: type[Body], said: dict[str, Any], words: str
) -> None:
    why = _refused(form, said)
    assert words in why.sentence
    assert why.kind == "impossible"


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"[" * 1000, b"\xff", b"{}", b'{"request_id": "\\ud800"}']
)
def test_what_cannot_be_read_is_malformed(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read(bodies.RetrieveFuture, data)
    assert refused.value.kind == "malformed"
    with pytest.raises(Refused) as refused:
        read(bodies.RetrieveFuture, b" " * (bounds.MAX_JSON_BYTES + 1))
    assert refused.value.kind == "too_large"


@pytest.mark.parametrize(
    ("mark", "limit", "what"),
    [
        (b"[],", bounds.MAX_JSON_CONTAINERS, "lists and objects"),
        (b'"",', bounds.MAX_JSON_TEXTS, "texts"),
        (b"1,", bounds.MAX_JSON_VALUES, "values"),
    ],
)
def test_values_are_counted_before_they_are_made(mark: bytes, limit: int, what: str) -> None:
    data = b'{"seq_id":[' + mark * (limit + 1) + b"1]}"
    with pytest.raises(Refused, match=f"too many {what}") as refused:
        read(bodies.OptimStepBody, data, bounds.MAX_TRAINING_JSON_BYTES)
    assert refused.value.kind == "too_large"


def test_a_list_of_mistakes_is_one_mistake() -> None:
    data = OLD.replace(b"[1, 2]", b"[" + b"null," * 9_000 + b"1]")
    with pytest.raises(Refused, match=r"tokens\.0: ") as refused:
        training.read_json(data, forward_only=False)
    assert len(refused.value.sentence) < 300


def test_metadata_are_texts_whatever_came() -> None:
    said = {"user_metadata": {"a": 1, "b": "x", "c": [None]}}
    found = read(bodies.CreateSession, json.dumps(said).encode()).user_metadata
    assert found == {"a": "1", "b": "x", "c": "[null]"}


def test_pages_of_listings_have_bounds() -> None:
    assert read_fields(Page, {"limit": "5", "offset": "2", "access_scope": "owned"}) == Page(
        limit=5, offset=2
    )
    assert Page().of(100).limit == 100
    assert Page(limit=7).of(100).limit == 7
    for said in ({"limit": "1001"}, {"offset": "-1"}, {"limit": "x"}):
        with pytest.raises(Refused):
            read_fields(Page, said)


@pytest.mark.parametrize(
    ("stop", "itself", "tokens", "strings"),
    [
        (None, True, (), ()),
        ([], False, (), ()),
        ("a", True, (), ("a",)),
        (["a", "b"], True, (), ("a", "b")),
        ([5, 6], True, (5, 6), ()),
    ],
)
def test_what_ends_a_completion(stop: Any, itself: bool, tokens: Any, strings: Any) -> None:
    asked = _params(stop=stop)
    assert (asked.ends_itself, asked.stop_tokens, asked.stop_strings) == (itself, tokens, strings)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": bounds.MAX_SAMPLES + 1}, "num_samples"),
        ({"prompt_alt_tokens_k": 1}, "prompt_alt_tokens_k"),
        ({"topk_prompt_logprobs": 65}, "topk_prompt_logprobs"),
        ({"prompt": {"chunks": []}}, "without tokens"),
        ({"sampling_session_id": "s"}, "seq_id together"),
        ({"base_model": None}, "model_path or base_model"),
        ({"prompt_logprobs_last_n": 1}, "needs prompt_logprobs"),
        ({"prompt_logprobs_last_n": 3, "prompt_logprobs": True}, "has 3 tokens"),
        (
            {
                "num_samples": 128,
                "topk_sample_logprobs": 64,
                "sampling_params": {"max_tokens": 1024},
            },
            "likeliest",
        ),
    ],
)
def test_samples_that_make_no_sense_are_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        _sample(**said)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"seed": -1},
        {"stop": [-1]},
        {"max_tokens": 2.5},
        {"stop": ["x" * 1001]},
    ],
)
def test_sampling_has_bounds(params: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        _params(**params)


def test_tokens_are_asked_about_at_the_places_of_their_rows() -> None:
    data = [-1, 4, 5, -1]
    asked = _sample(target_prompt_logprobs={"data": data, "dtype": "int64", "shape": [2, 2]})
    assert asked.targets is not None
    assert asked.targets.pairs == ((1, 4), (2, 5))
    assert asked.targets.asking.tolist() == [1, 2]
    for bad in (
        {"data": data, "dtype": "int64", "shape": [4, 1]},
        {"data": data, "dtype": "int64"},
        {"data": [-1] * 4, "dtype": "int64", "shape": [2, 2]},
        {"data": [-2, 1, 1, 1], "dtype": "int64", "shape": [2, 2]},
        {"data": [1.5] * 4, "dtype": "float32", "shape": [2, 2]},
    ):
        with pytest.raises(Refused, match="target_prompt_logprobs"):
            _sample(target_prompt_logprobs=bad)


def test_a_sampler_is_asked_only_for_what_its_context_takes() -> None:
    assert sampling.fit(_params(max_tokens=7), max_context=10, vocab_size=4) == 7
    assert sampling.fit(_sample(), max_context=10, vocab_size=4) == 7, "what is left"
    for asked, context, words in (
        (_params(max_tokens=8), 10, "a context of 10"),
        (_sample(), 3, "a context of 3"),
        (_params(stop=[4], max_tokens=1), 10, "knows 0 to 3"),
    ):
        with pytest.raises(Refused, match=words):
            sampling.fit(asked, context, vocab_size=4)


def test_older_clients_are_answered_in_json() -> None:
    from archipel.door.hands import Completion, Sampled, TopK

    top = TopK(
        np.array([[0, 0], [4, 0]], np.int32), np.array([[-99999, -99999], [-1, -99999]], "f4")
    )
    outcome = Sampled(
        (Completion((7,), (-1.0,), "length", None),), np.array([np.nan, -2], "f4"), top, None, 3
    )
    asked = _sample(prompt_logprobs=True)
    assert json.loads(answers.sampled(asked, outcome, protobuf=False).body) == {
        "type": "sample",
        "sequences": [{"stop_reason": "length", "tokens": [7], "logprobs": [-1.0]}],
        "prompt_logprobs": [None, -2.0],
        "topk_prompt_logprobs": [None, [[4, -1.0]]],
    }
    assert answers.takes_protobuf("Application/x-protobuf, application/json")
    assert not answers.takes_protobuf("application/json")


def test_a_refusal_says_whether_it_is_worth_asking_again() -> None:
    for kind, status in errors.STATUSES.items():
        response = told(Refused(kind, "why"))
        assert response.status == status
        assert json.loads(response.body)["detail"] == "why"
        assert ("x-should-retry" in response.headers) == (kind not in errors.PASSING)
    retried = {
        kind
        for kind, status in errors.STATUSES.items()
        if status in (402, 408, 409, 429) or status >= 500
    }
    assert retried == errors.PASSING, "what clients repeat by themselves is what may pass"
    assert told(Refused("rate", "why", 2.4)).headers["retry-after"] == "2"


def test_a_poll_is_never_ended_by_what_passes_nor_repeated_for_what_does_not() -> None:
    assert told(Refused("malformed", "why"), polling=True).status == 422
    response = told(Refused("rate", "why"), polling=True)
    assert (response.status, json.loads(response.body)["queue_state"]) == (408, "paused_rate_limit")
    assert told(Refused("gone", "why"), polling=True).status == 410


def test_a_failed_future_says_whose_fault_it_is() -> None:
    assert failure(Refused("impossible", "why")) == Failure("why", "user")
    assert failure(Refused("unavailable", "why")).category == "server"
    assert json.loads(answers.failed(Failure("why", "user")).body) == {
        "error": "why",
        "category": "user",
    }


def test_a_future_is_promised_awaited_and_measured() -> None:
    assert json.loads(answers.promised("r", "m", ("a",)).body) == {
        "request_id": "r",
        "model_id": "m",
        "sample_sequence_ids": ["a"],
    }
    pending = answers.pending("r", "paused_capacity", "few machines")
    assert (pending.status, json.loads(pending.body)["type"]) == (408, "try_again")
    assert json.loads(answers.size_alone(9).body) == {
        "status": "complete_metadata",
        "response_payload_size": 9,
    }


@pytest.mark.parametrize(
    "said",
    ["tinker://m/weights/a", "tinker://m:1/sampler_weights/a.b-c", "tinker://m/external_weights/0"],
)
def test_a_path_is_what_it_says(said: str) -> None:
    path = paths.read_path(said)
    assert str(path) == said
    assert paths.checkpoint_id(path.model, path.id) == path


@pytest.mark.parametrize(
    "said",
    [
        "tinker://m/weights/..", "tinker://m/weights/a/b", "tinker://m/other/a", "tinker:///weights/a", "tinker://../weights/a",
        "tinker://m/weights/", "tinker://m/weights/a\n", "tinker://m/weights/" + "a" * 129,
    ],
)  # fmt: skip
def test_what_is_no_checkpoints_path_is_not_there(said: str) -> None:
    with pytest.raises(Refused) as refused:
        paths.read_path(said)
    assert refused.value.kind == "not_found"
    with pytest.raises(Refused, match="expected tinker://"):
        paths.read_path("/etc/passwd")


def test_names_of_checkpoints_are_no_paths() -> None:
    assert paths.checkpoint_name("final_0.1-x") == "final_0.1-x"
    for said in ("", ".", "..", "a/b", "-a", "a b", "ä", "a\x00", "x" * 129):
        with pytest.raises(Refused, match="no name of a checkpoint"):
            paths.checkpoint_name(said)


def test_the_layer_above_the_others_is_trained_where_it_is_asked_for() -> None:
    asked = {"session_id": "s", "model_seq_id": 0, "base_model": "b"}
    for wanted in (True, False):
        read = bodies.CreateModel.model_validate(
            asked | {"lora_config": {"rank": 4, "train_unembed": wanted}}
        )
        assert ("lm_head" in read.lora_config.form.targets) == wanted
