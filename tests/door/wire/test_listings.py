"""Rows as clients 0.38 and 0.16 were seen to take them: the fields that they demand, by name."""

import json
from typing import Any

from archipel.door.hands import ServedModel
from archipel.door.wire import listings, replies
from archipel.door.wire.errors import Told
from archipel.door.wire.paths import read_path
from archipel.door.wire.reading import Page

PATH = read_path("tinker://m/weights/a")
KEPT = listings.Checkpoint(PATH, made_s=0, num_bytes=5, expires_s=60, metadata={"a": "b"})


def _said(told: Told) -> Any:
    return json.loads(told.body)


def test_a_checkpoint_is_named_within_its_model_and_as_a_whole() -> None:
    found = _said(listings.checkpoints([KEPT], Page(limit=2), total=9))
    assert found["cursor"] == {"offset": 0, "limit": 2, "total_count": 9}
    assert found["checkpoints"] == [
        {
            "checkpoint_id": "weights/a",
            "checkpoint_type": "training",
            "time": "1970-01-01T00:00:00+00:00",
            "tinker_path": "tinker://m/weights/a",
            "size_bytes": 5,
            "public": False,
            "expires_at": "1970-01-01T00:01:00+00:00",
            "user_metadata": {"a": "b"},
        }
    ]
    assert _said(listings.checkpoints([]))["cursor"] is None


def test_a_session_says_how_it_stands() -> None:
    alive = listings.Session("s", 0, "me")
    done = listings.Session("s", 0, "me", finished="success", is_alive=False)
    gone = listings.Session("s", 0, "me", is_alive=False)
    rows = _said(listings.sessions_found([alive, done, gone]))["sessions"]
    assert [each["status"] for each in rows] == [
        {"type": "active"},
        {"type": "client_finished", "reason": {"type": "success"}},
        None,
    ]


def test_an_archive_is_a_redirection_with_its_end() -> None:
    told = listings.archive("/files/x", 0)
    assert (told.status, told.headers["location"]) == (302, "/files/x")
    assert told.headers["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_usage_is_told_as_bills_are() -> None:
    rows = _said(listings.usage([listings.Usage("sampling_prefill", 0, 3600, 7, "b")]))["data"]
    assert rows[0]["event_info"] == {"type": "sampling_prefill", "token_count": 7, "cached": False}
    assert (rows[0]["bucket_end"], rows[0]["base_model"]) == ("1970-01-01T01:00:00+00:00", "b")


def test_a_model_says_what_was_trained() -> None:
    run = listings.TrainingRun("m", "b", "me", 8, 0, is_broken=True, last_training=KEPT)
    row = _said(listings.training_runs([run], Page(), 1))["training_runs"][0]
    assert (row["corrupted"], row["lora_rank"], row["last_checkpoint"]) == (True, 8, KEPT.row)
    info = _said(replies.weights_info("b", 8, ("q_proj", "lm_head")))
    assert (info["train_attn"], info["train_mlp"], info["train_unembed"]) == (True, False, True)
    served = ServedModel("b", 128, 100, "t", "qwen3")
    assert _said(replies.model_info("m", served, 8))["model_data"]["tokenizer_id"] == "t"
    assert _said(replies.capabilities([served]))["supported_models"][0]["max_context_length"] == 128


def test_futures_that_ended_are_told_with_what_their_answers_take() -> None:
    found = _said(replies.completions([("a", 3), ("b", None)], cursor=7))
    assert found == {
        "completions": [
            {"state": "finished", "request_id": "a", "response_payload_uncompressed_size": 3},
            {"state": "failed", "request_id": "b"},
        ],
        "cursor": 7,
    }
